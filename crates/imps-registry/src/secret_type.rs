//! The types of source Secrets. The type names the provider, so that the custom resource never has to.

/// A login of Docker Hub.
pub(crate) const DOCKER_HUB: &str = "images.banzaicloud.io/docker-hub";
/// A login of any registry.
pub(crate) const PRIVATE: &str = "images.banzaicloud.io/private";
/// An identity at Google.
pub(crate) const GCP: &str = "images.banzaicloud.io/gcp";
/// An identity at Microsoft Entra.
pub(crate) const ACR: &str = "images.banzaicloud.io/acr";
/// A GitHub App.
pub(crate) const GITHUB_APP: &str = "images.banzaicloud.io/github-app";

/// A login, as Kubernetes itself has a type for.
pub(crate) const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
/// Anything, as Secrets are when nobody says a type.
pub(crate) const OPAQUE: &str = "Opaque";
