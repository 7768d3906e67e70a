//! Messages as they were seen in the field, each with the place where somebody reported it. Names of hosts and images
//! are those of the reports, or shortened where they do not matter.

use imps_core::diagnosis::{Code, PullError, classify, is_pull_reason};

/// What it means, where it is from, and the message.
type Row = (PullError, &'static str, &'static str);

const fn is(code: Code) -> PullError {
    PullError::Finding(code)
}

/// The kubelet, whatever the runtime.
const KUBELET: &[Row] = &[
    (
        PullError::SecretMissing,
        "kubernetes/kubernetes:pkg/kubelet/kubelet_pods.go",
        "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
    ),
    (
        PullError::SecretMissing,
        "poseidon-network/qlauncher-linux#25",
        "Unable to retrieve pull secret default/docker-registry for default/v2ray-x86-r5m29 due to secret \
         \"docker-registry\" not found.  The image pull may not succeed.",
    ),
    (
        is(Code::SecretUndecodable),
        "kubernetes/kubernetes:pkg/credentialprovider/config.go",
        "unable to parse auth field, must be formatted as base64(username:password)",
    ),
    (
        is(Code::SecretUndecodable),
        "kubernetes/kubernetes:pkg/credentialprovider/config.go, encoding/base64 of Go",
        "illegal base64 data at input byte 4",
    ),
    (
        is(Code::SecretUndecodable),
        "kubelet 1.36.2",
        "json: cannot unmarshal string into Go struct field DockerConfigJSON.auths of type \
         credentialprovider.dockerConfigEntryWithAuth",
    ),
    (
        is(Code::SecretUndecodable),
        "kubelet 1.36.2, in an event",
        "Error: json: cannot unmarshal number into Go struct field DockerConfigJSON.auths.password of type string",
    ),
    (
        is(Code::NoLogin),
        "kubelet 1.36.2",
        "Back-off pulling image \"reg.example/app:1\": ErrImagePull: rpc error: code = Internal desc = grpc: error \
         while marshaling: string field contains invalid UTF-8",
    ),
    (
        is(Code::Unauthorized),
        "kubelet 1.36.2 with containerd 1.6.20, of two logins",
        "[rpc error: code = Internal desc = grpc: error while marshaling: string field contains invalid UTF-8, failed \
         to pull and unpack image \"reg.example/app:1\": failed to resolve reference \"reg.example/app:1\": \
         pulling from host reg.example failed with status code [manifests 1]: 401 Unauthorized]",
    ),
    (
        is(Code::NeverPull),
        "kubernetes/kubernetes:pkg/kubelet/images/image_manager.go",
        "Container image \"registry.example/app:1\" is not present with pull policy of Never",
    ),
    (
        is(Code::PullRecords),
        "kubernetes/kubernetes:pkg/kubelet/images/image_manager.go",
        "Failed to record image pull intent for container image \"app:1\": failed to record image pull intent: \
         failed to create directory \"/var/lib/kubelet/image_manager/pulling\": permission denied",
    ),
    (
        is(Code::ImageName),
        "jupyterhub/zero-to-jupyterhub-k8s#472",
        "Failed to apply default image tag \"https://harbor.k8s.mybank/release/name:1.1.0\": couldn't parse image \
         reference \"https://harbor.k8s.mybank/release/name:1.1.0\": invalid reference format",
    ),
    (
        is(Code::ImageName),
        "digitalocean/clusterlint#71",
        "Failed to apply default image tag \"redacted.dkr.ecr.us-east-1.amazonaws.com/redacted/redacted:\": couldn't \
         parse image reference \"redacted.dkr.ecr.us-east-1.amazonaws.com/redacted/redacted:\": invalid reference \
         format",
    ),
    (
        is(Code::ProviderFailed),
        "kubernetes/kubernetes#117448",
        "Failed getting credential from external registry credential provider: error execing credential provider \
         plugin foo for image bar: exit status 1",
    ),
    (
        is(Code::ProviderFailed),
        "siderolabs/talos#11086",
        "Failed getting credential from external registry credential provider: error execing credential provider \
         plugin ecr-credential-provider for image 097676021280.dkr.ecr.eu-central-1.amazonaws.com/backend-daemon: \
         fork/exec /usr/local/lib/kubelet/credentialproviders/ecr-credential-provider: no such file or directory: ",
    ),
    (
        is(Code::ProviderFailed),
        "kubelet 1.36.2, in its log",
        "\"Failed to provide credentials for image\" err=\"failed to get credential from external registry credential \
         provider: error execing credential provider plugin fails for image reg.example/app: exit status 1: \"",
    ),
    (
        is(Code::RateLimited),
        "kubernetes/kubernetes:pkg/kubelet/images/helpers.go",
        "Failed to pull image \"app:1\": pull QPS exceeded",
    ),
    (
        PullError::BackOff,
        "kubernetes/kubernetes:pkg/kubelet/images/image_manager.go",
        "Back-off pulling image \"hjacobs/kube-ops-view:0.8.1\"",
    ),
    (
        is(Code::NotFound),
        "kubernetes/kubernetes:pkg/kubelet/images/image_manager.go (since 1.32 with the last error)",
        "Back-off pulling image \"app:nope\": ErrImagePull: rpc error: code = NotFound desc = failed to pull and \
         unpack \
         image \"docker.io/library/app:nope\": failed to resolve reference \"docker.io/library/app:nope\": \
         docker.io/library/app:nope: not found",
    ),
    (
        PullError::NotPulling,
        "kubernetes/kubernetes:pkg/kubelet/kuberuntime/kuberuntime_manager.go",
        "Back-off restarting failed container app in pod web-7c9f_shop(8ea8c461-b6a8-4c16-9b57-71ba32ae8cba)",
    ),
    (
        PullError::NotPulling,
        "kubernetes/kubernetes:pkg/scheduler/framework/types.go",
        "0/3 nodes are available: 3 Insufficient cpu.",
    ),
];

/// Credentials, by the registry that was asked.
const CREDENTIALS: &[Row] = &[
    // docker-registry
    (
        is(Code::Unauthorized),
        "kubernetes/kubernetes#110678",
        "Failed to pull image \"registry.app.xxx.net/x/partsgo42:1\": rpc error: code = Unknown desc = failed to \
         pull \
         and unpack image \"registry.app.xxx.net/x/partsgo42:1\": failed to resolve reference \
         \"registry.app.xxx.net/x/partsgo42:1\": pulling from host registry.app.xxx.net failed with status code \
         [manifests 1]: 401 Unauthorized",
    ),
    (
        is(Code::Unauthorized),
        "cri-o/cri-o#7808",
        "Failed to pull image \"10.182.0.22:5000/flannel/flannel-cni-plugin:v1.4.0-flannel1\": reading manifest \
         v1.4.0-flannel1 in 10.182.0.22:5000/flannel/flannel-cni-plugin: authentication required",
    ),
    (
        is(Code::AnonymousRefused),
        "containerd/cri#848",
        "Failed to pull image \"registry.example.com/my/app:latest\": rpc error: code = Unknown desc = failed to \
         resolve image \"registry.example.com/my/app:latest\": failed to fetch anonymous token: unexpected status: \
         403 Forbidden",
    ),
    (
        is(Code::AnonymousRefused),
        "kubernetes/kubernetes#49493",
        "no user/password was provided for basic authentication",
    ),
    (
        is(Code::NotFound),
        "cri-o/cri-o#4388",
        "rpc error: code = Unknown desc = Error reading manifest latest in registry.mydomain/image: manifest \
         unknown: \
         manifest unknown",
    ),
    (
        is(Code::Unauthorized),
        "kubelet 1.36.2 with containerd 1.6.20, with a login and without",
        "Back-off pulling image \"127.0.0.1:5000/team/app:1\": ErrImagePull: failed to pull and unpack image \
         \"127.0.0.1:5000/team/app:1\": failed to resolve reference \"127.0.0.1:5000/team/app:1\": pulling from host \
         127.0.0.1:5000 failed with status code [manifests 1]: 401 Unauthorized",
    ),
    // with a token service
    (
        is(Code::CredentialRefused),
        "kubelet 1.36.2 with containerd 1.6.20",
        "failed to pull and unpack image \"127.0.0.1:5000/team/app:1\": failed to resolve reference \
         \"127.0.0.1:5000/team/app:1\": failed to authorize: failed to fetch oauth token: unexpected status: 401 \
         Unauthorized",
    ),
    (
        is(Code::NotFoundOrDenied),
        "kubelet 1.36.2 with containerd 1.6.20, without a login and with one that has no right",
        "failed to pull and unpack image \"127.0.0.1:5000/team/app:1\": failed to resolve reference \
         \"127.0.0.1:5000/team/app:1\": pull access denied, repository does not exist or may require authorization: \
         server message: insufficient_scope: authorization failed",
    ),
    // Docker Hub
    (
        is(Code::NotFoundOrDenied),
        "dunglas/frankenphp-wordpress#2",
        "pull access denied, repository does not exist or may require authorization: server message: \
         insufficient_scope: authorization failed",
    ),
    (
        is(Code::NotFoundOrDenied),
        "octarinesec/octarine-operator#15",
        "Failed to pull image \"octarinesec/guardrails-enforcer:20.7\": rpc error: code = Unknown desc = Error \
         response \
         from daemon: pull access denied for octarinesec/guardrails-enforcer, repository does not exist or may \
         require \
         'docker login': denied: requested access to the resource is denied",
    ),
    (
        is(Code::NotFoundOrDenied),
        "cri-o/cri-o#2331",
        "pulling image failed: rpc error: code = Unknown desc = Error reading manifest latest in \
         docker.io/crio/busybox: \
         errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required",
    ),
    (
        is(Code::CredentialRefused),
        "containerd/containerd#2211",
        "ctr: failed to fetch oauth token: unexpected status: 401 Unauthorized",
    ),
    (
        is(Code::CredentialRefused),
        "containerd/cri#668",
        "rpc error: code = Unknown desc = Error response from daemon: Get \
         https://registry-1.docker.io/v2/library/nginx/manifests/latest: unauthorized: incorrect username or \
         password",
    ),
    (
        is(Code::RateLimited),
        "kata-containers/kata-containers#10109",
        "Failed to pull image \"busybox\": rpc error: code = Unknown desc = failed to pull and unpack image \
         \"docker.io/library/busybox:latest\": failed to copy: httpReadSeeker: failed open: unexpected status code \
         https://registry-1.docker.io/v2/library/busybox/manifests/sha256:50aa: 429 Too Many Requests - Server \
         message: \
         toomanyrequests: You have reached your pull rate limit.",
    ),
    (
        is(Code::RateLimited),
        "AliyunContainerService/image-syncer#160",
        "reading manifest 1.13 in docker.io/library/nginx: toomanyrequests: You have reached your pull rate \
         limit. You \
         may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit",
    ),
    // Amazon ECR
    (
        is(Code::AnonymousRefused),
        "kubernetes/kops#16762",
        "failed to resolve reference \
         \"123456789101.dkr.ecr.ap-southeast-2.amazonaws.com/k8s-example/pause@sha256:7031\": \
         pull access denied, repository does not exist or may require authorization: authorization failed: no \
         basic auth \
         credentials",
    ),
    (
        is(Code::AnonymousRefused),
        "kubernetes/community#4003",
        "Failed to pull image \"\": rpc error: code = Unknown desc = Error response from daemon: Get \
         https://XXXXXX.dkr.ecr.ap-southeast-1.amazonaws.com/v2/webbook/webbook/manifests/latest: no basic auth \
         credentials",
    ),
    (
        is(Code::TokenExpired),
        "awslabs/amazon-ecr-credential-helper#118",
        "Not continuing with pull after error: denied: Your Authorization Token has expired. Please run 'aws ecr \
         get-login --no-include-email' to fetch a new one.",
    ),
    (
        is(Code::TokenExpired),
        "fluxcd/image-reflector-controller#71",
        "GET https://my-id-aws.dkr.ecr.us-east-1.amazonaws.com/v2/image/tags/list?n=1000: DENIED: Your authorization \
         token has expired. Reauthenticate and try again.",
    ),
    (
        is(Code::TokenExpired),
        "aws-samples/eks-workshop#1544",
        "Error response from daemon: pull access denied for public.ecr.aws/registry_alias/repository_name, \
         repository \
         does not exist or may require 'docker login': denied: Your authorization token has expired. \
         Reauthenticate and \
         try again.",
    ),
    (
        is(Code::NoPullRight),
        "everything2/everything2#2562",
        "Error response from daemon: pull access denied for 254865750963.dkr.ecr.us-west-2.amazonaws.com/e2lib, \
         repository does not exist or may require 'docker login': denied: User: \
         arn:aws:sts::254865750963:assumed-role/R \
         is not authorized to perform: ecr:BatchGetImage on resource: \
         arn:aws:ecr:us-west-2:254865750963:repository/e2lib",
    ),
    (
        is(Code::NoPullRight),
        "aws-samples/bedrock-access-gateway#114",
        "failed to resolve ref 366590864501.dkr.ecr.us-west-2.amazonaws.com/bedrock-proxy-api-ecs:latest: unexpected \
         status from HEAD request to https://366590864501.dkr.ecr.us-west-2.amazonaws.com/v2/bedrock-proxy-api-ecs: \
         403 Forbidden",
    ),
    (
        is(Code::NotFoundOrDenied),
        "kubernetes/kubernetes#69141",
        "rpc error: code = Unknown desc = Error response from daemon: repository \
         <id>.dkr.ecr.cn-north-1.amazonaws.com.cn/topic-service not found: does not exist or no pull access",
    ),
    // Google Artifact Registry
    (
        is(Code::NoPullRight),
        "GoogleCloudPlatform/berglas#128",
        "Failed to pull image \"us-docker.pkg.dev/berglas/berglas/berglas:latest\": rpc error: code = Unknown desc = \
         Error response from daemon: Get https://us-docker.pkg.dev/v2/berglas/berglas/berglas/manifests/latest: \
         denied: \
         Permission \"artifactregistry.repositories.downloadArtifacts\" denied on resource \
         \"projects/berglas/locations/us/repositories/berglas\"",
    ),
    (
        is(Code::AnonymousRefused),
        "google/fuzzbench#1981",
        "Unauthenticated requests do not have permission \"artifactregistry.repositories.downloadArtifacts\" on \
         resource \
         \"projects/fuzzbench/locations/us/repositories/gcr.io\"",
    ),
    (
        is(Code::AnonymousRefused),
        "docker/login-action#606",
        "europe-west1-docker.pkg.dev/foo/ar/python:3.9-slim: failed to authorize: failed to fetch anonymous token: \
         unexpected status: 403 Forbidden",
    ),
    // Azure Container Registry
    (
        is(Code::AnonymousRefused),
        "Azure/AKS#4459",
        "failed to resolve reference \"r.azurecr.io/main/i:v5.0.0\": failed to authorize: failed to fetch anonymous \
         token: unexpected status from GET request to \
         https://r.azurecr.io/oauth2/token?scope=repository%3Amain%2Fi%3Apull&service=r.azurecr.io: 401 Unauthorized",
    ),
    (
        is(Code::CredentialRefused),
        "Azure/AKS#4593",
        "Failed to pull image \"myacr.azurecr.io/fluent/fluent-bit:3.1.6\":[rpc error: code = Unknown desc = \
         failed to \
         authorize: failed to fetch oauth token: unexpected status from GET request to \
         https://myacr.azurecr.io/oauth2/token: 401 Unauthorized, rpc error: code = Unknown desc = failed to \
         authorize: \
         failed to fetch anonymous token: unexpected status from GET request to \
         https://myacr.azurecr.io/oauth2/token: \
         401 Unauthorized]",
    ),
    (
        is(Code::Unauthorized),
        "Azure/AKS#679",
        "Failed to pull image \"cloudtechnologies.azurecr.io/poc-k8s-web:20181007.1\": rpc error: code = Unknown \
         desc = \
         Error response from daemon: Get https://cloudtechnologies.azurecr.io/v2/poc-k8s-web/manifests/20181007.1: \
         unauthorized: authentication required",
    ),
    // GitHub
    (
        is(Code::CredentialRefused),
        "BerriAI/litellm#2543",
        "ghcr.io/berriai/litellm:main-v1.31.14: failed to authorize: failed to fetch oauth token: unexpected \
         status from \
         GET request to https://ghcr.io/token?scope=repository%3Aberriai%2Flitellm%3Apull&service=ghcr.io: 403 \
         Forbidden",
    ),
    (
        is(Code::NotFoundOrDenied),
        "dexidp/dex#2672",
        "Error response from daemon: Head \"https://ghcr.io/v2/dexidp/dex/manifests/v2.30.2\": denied: denied",
    ),
    (
        is(Code::NoPullRight),
        "k0sproject/k0sctl#981",
        "initializing source docker://ghcr.io/k0sprojects/k0sctl:latest: Requesting bearer token: invalid status \
         code \
         from registry 403 (Forbidden)",
    ),
    // Harbor
    (
        is(Code::NoPullRight),
        "goharbor/harbor#18895",
        "Handler for POST /v1.41/images/create returned error: unauthorized: unauthorized to access repository: \
         myrepo/myimage, action: pull",
    ),
    // Quay
    (
        is(Code::NotFoundOrDenied),
        "stolostron/deploy#2",
        "Failed to pull image \"quay.io/open-cluster-management/multicloudhub-operator-bundle@sha256:ba91\": rpc \
         error: \
         code = Unknown desc = Error reading manifest sha256:ba91 in \
         quay.io/open-cluster-management/multicloudhub-operator-bundle: unauthorized: access to the requested \
         resource \
         is not authorized",
    ),
    // Red Hat
    (
        is(Code::CredentialRefused),
        "kubernetes-sigs/cri-tools#731",
        "pulling image: rpc error: code = Unknown desc = unable to retrieve auth token: invalid username/password: \
         unauthorized: Please login to the Red Hat Registry using your Customer Portal credentials.",
    ),
    // Artifactory
    (
        is(Code::NoPullRight),
        "kubernetes/kubernetes#65958",
        "Failed to pull image \"my-artifactory-website:5006/imagename:4\": rpc error: code = Unknown desc = Error \
         response from daemon: unauthorized: The client does not have permission for manifest",
    ),
    (
        is(Code::Unauthorized),
        "containerd/containerd#6339",
        "ctr: failed to resolve reference \"artifactory.local/node:14.17.5-alpine\": unexpected status code \
         [manifests \
         14.17.5-alpine]: 401 Unauthorized",
    ),
];

/// The way to the registry, and the node.
const NETWORK_AND_NODE: &[Row] = &[
    (
        is(Code::UntrustedCertificate),
        "easzlab/kubeasz#1163",
        "failed to do request: Head \"https://xxx/v2/minzhi/nginx/manifests/1.0\": x509: certificate signed by \
         unknown \
         authority",
    ),
    (
        is(Code::PlainHttp),
        "enix/kube-image-keeper#60",
        "failed to resolve reference \"localhost:7439/docker.io/x/redis:2023.1.2\": failed to do request: Head \
         \"https://localhost:7439/v2/docker.io/x/redis/manifests/2023.1.2\": http: server gave HTTP response to \
         HTTPS \
         client",
    ),
    (
        is(Code::Dns),
        "hjacobs/kube-ops-view#176",
        "Failed to pull image \"hjacobs/kube-ops-view:0.8.1\": rpc error: code = Unknown desc = Error response from \
         daemon: Get https://registry-1.docker.io/v2/: dial tcp: lookup registry-1.docker.io on 127.0.0.53:53: \
         server \
         misbehaving",
    ),
    (
        is(Code::Dns),
        "rancher/k3os#431",
        "failed to do request: Head https://registry-1.docker.io/v2/rancher/pause/manifests/3.1: dial tcp: lookup \
         registry-1.docker.io: Try again",
    ),
    (
        is(Code::NoConnection),
        "ciiiii/cloudflare-docker-proxy#79",
        "failed to authorize: failed to fetch anonymous token: Get \
         \"https://auth.docker.io/token?scope=repository%3Alibrary%2Fnginx%3Apull&service=registry.docker.io\": \
         dial tcp \
         199.59.149.230:443: connect: connection refused",
    ),
    (
        is(Code::Timeout),
        "ciiiii/cloudflare-docker-proxy#62",
        "PullImage \"docker.io/redis:latest\" failed\" error=\"rpc error: code = DeadlineExceeded desc = failed to \
         authorize: failed to fetch anonymous token: Get \"https://auth.docker.io/token?scope=x\": dial tcp \
         108.160.165.48:443: i/o timeout\"",
    ),
    (
        is(Code::Timeout),
        "kubernetes/minikube#15626",
        "Failed to pull image \"noyandocker/authservice\": rpc error: code = Unknown desc = context deadline \
         exceeded",
    ),
    (
        is(Code::Timeout),
        "kubernetes/kubernetes#131521",
        "rpc error: code = Canceled desc = failed to pull and unpack image \
         \"private_registery.mydomain/idrac:1\": failed \
         to copy: httpReadSeeker: failed open: failed to do request: Get \
         \"https://private_registery.mydomain/v2/csg/idrac/blobs/sha256:d015\": context canceled",
    ),
    (
        is(Code::Proxy),
        "ray-project/ray#46813",
        "proxyconnect tcp: dial tcp 127.0.0.1:1082: connect: connection refused",
    ),
    (
        is(Code::Proxy),
        "cri-o/cri-o#2331",
        "pulling image failed: rpc error: code = Unknown desc = error pinging docker registry \
         registry-1.docker.io: Get \
         \"https://registry-1.docker.io/v2/\": proxyconnect tcp: dial tcp: lookup http: Temporary failure in name \
         resolution",
    ),
    (
        is(Code::RegistryFailing),
        "cri-o/cri-o#3863",
        "error pinging docker registry <registry IP>:<registry PORT>: invalid status code from registry 502 (Bad \
         Gateway)",
    ),
    (
        is(Code::Platform),
        "codefactoryhu/manifest#11",
        "Failed to pull image \"ghcr.io/codefactoryhu/manifest:0.1.5\": rpc error: code = NotFound desc = failed \
         to pull \
         and unpack image \"ghcr.io/codefactoryhu/manifest:0.1.5\": no match for platform in manifest: not found",
    ),
    (
        is(Code::Platform),
        "cilium/image-tools#61",
        "Failed to pull image \"docker.io/cilium/startup-script:af2a\": rpc error: code = Unknown desc = no matching \
         manifest for linux/arm/v7 in the manifest list entries",
    ),
    (
        is(Code::NodeStorage),
        "suxess-it/kubriX#1825",
        "Failed to pull image \"mcr.microsoft.com/playwright:v1.57.0\": failed to pull and unpack image \
         \"mcr.microsoft.com/playwright:v1.57.0\": failed to extract layer sha256:ba31: write \
         /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/604/fs/usr/lib/libLLVM.so.20.1: no \
         space \
         left on device: unknown",
    ),
    (
        is(Code::NodeStorage),
        "tableau/tableau-server-in-kubernetes#14",
        "Failed to pull image \"CENSORED\": rpc error: code = Unknown desc = failed to register layer: Error \
         processing \
         tar file(exit status 1): write /tableau-server-CENSORED.rpm: no space left on device",
    ),
];

#[test]
fn messages_of_the_field_are_understood() {
    let all = || [KUBELET, CREDENTIALS, NETWORK_AND_NODE].into_iter().flatten();
    assert!(all().count() >= 40);
    let wrong: Vec<String> = all()
        .filter(|(expected, _, message)| classify(message) != *expected)
        .map(|(expected, source, message)| format!("{source}: {:?}, not {expected:?}", classify(message)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn where_the_kubelet_has_no_word_its_error_is_the_reason() {
    for reason in [
        "ErrImagePull",
        "unable to parse auth field, must be formatted as base64(username:password)",
        "illegal base64 data at input byte 0",
        "json: cannot unmarshal number into Go struct field DockerConfigJSON.auths.password of type string",
        "failed to record image pull intent: failed to create directory: permission denied",
    ] {
        assert!(is_pull_reason(reason), "{reason}");
    }
    for reason in ["ContainerCreating", "CrashLoopBackOff", "CreateContainerConfigError", ""] {
        assert!(!is_pull_reason(reason), "{reason}");
    }
}

#[test]
fn what_no_phrase_is_known_for_is_said_to_be_unknown() {
    assert_eq!(classify("the hamster is asleep"), PullError::Finding(Code::Unclassified));
    assert_eq!(classify(""), PullError::Finding(Code::Unclassified));
}
