//! Registry tokens for identities: one file per provider, each with the hosts that it serves, the keys that it reads and
//! its dialogue. Knows HTTP and no Kubernetes.
