//! What a role may do once imps has taken it on, whatever the role itself may: session policies.

/// The roles on the way only lead to the next.
pub(crate) const STEP: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#;

/// Asking for a token and pulling with it. The last action lets a pull-through cache fetch what it does not have yet.
pub(crate) const PULL: &str = concat!(
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["#,
    r#""ecr:GetAuthorizationToken","ecr:BatchGetImage","ecr:GetDownloadUrlForLayer","#,
    r#""ecr:BatchCheckLayerAvailability","ecr:BatchImportUpstreamImage"],"Resource":"*"}]}"#
);

/// The same for ECR Public, whose token is a bearer token of STS.
pub(crate) const PULL_PUBLIC: &str = concat!(
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["#,
    r#""ecr-public:GetAuthorizationToken","ecr-public:BatchCheckLayerAvailability","#,
    r#""sts:GetServiceBearerToken"],"Resource":"*"}]}"#
);
