//! Accounts, users and roles, and whom a role trusts.

use serde::Deserialize;
use serde_json::{Value, json};

/// An account in a partition of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Twelve digits.
    pub number: &'static str,
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'static str,
}

impl Account {
    /// The account of whoever runs the cluster.
    pub const OURS: Self = Self { number: "111122223333", partition: "aws" };
    /// The account of somebody who lets us in.
    pub const OTHER: Self = Self { number: "444455556666", partition: "aws" };
    /// An account in China, where hosts have another end and keys of elsewhere are not known.
    pub const CHINA: Self = Self { number: "777788889999", partition: "aws-cn" };
}

/// Long-lived keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Keys {
    /// The public half.
    pub access_key_id: String,
    /// The half that signs.
    pub secret_key: String,
}

/// A user of an account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct User {
    /// The name that trust policies use.
    pub arn: String,
    /// Its only keys.
    pub keys: Keys,
}

/// A role to be made.
#[derive(Clone, Debug)]
pub struct Role<'a> {
    /// In which account.
    pub account: Account,
    /// No two roles of an account have the same one.
    pub name: &'a str,
    /// Who may assume it.
    pub trust: Trust<'a>,
    /// The actions that its sessions are allowed.
    pub allowed: &'a [&'a str],
}

/// Who may assume a role.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// A user or another role.
    Principal {
        /// Its ARN.
        arn: &'a str,
        /// What it must say, if the role wants to hear something.
        external_id: Option<&'a str>,
    },
    /// Whoever has a token of an issuer.
    WebIdentity {
        /// With its scheme, as tokens carry it.
        issuer: &'a str,
        /// The only subject, if not all are meant.
        subject: Option<&'a str>,
    },
    /// Pods, by EKS Pod Identity.
    Pods,
    /// Machines, by an instance profile.
    Machines,
}

impl Role<'_> {
    /// What the emulation wants to know.
    pub(super) fn document(&self) -> Value {
        json!({
            "account": self.account.number,
            "partition": self.account.partition,
            "name": self.name,
            "trust": {"Version": "2012-10-17", "Statement": [self.trust.statement(self.account)]},
            "allowed": self.allowed,
        })
    }
}

impl Trust<'_> {
    /// The statement of a trust policy as IAM knows it.
    fn statement(&self, account: Account) -> Value {
        let (action, principal, condition) = match self {
            Self::Principal { arn, external_id } => {
                let condition = external_id.map_or_else(|| json!({}), |id| json!({"sts:ExternalId": id}));
                ("sts:AssumeRole", json!({"AWS": arn}), condition)
            }
            Self::WebIdentity { issuer, subject } => {
                let host = issuer.trim_start_matches("https://");
                let provider =
                    format!("arn:{}:iam::{}:oidc-provider/{host}", account.partition, account.number);
                let mut condition = json!({format!("{host}:aud"): "sts.amazonaws.com"});
                if let Some(subject) = subject {
                    condition[format!("{host}:sub")] = json!(subject);
                }
                ("sts:AssumeRoleWithWebIdentity", json!({"Federated": provider}), condition)
            }
            Self::Pods => ("sts:AssumeRole", json!({"Service": "pods.eks.amazonaws.com"}), json!({})),
            Self::Machines => ("sts:AssumeRole", json!({"Service": "ec2.amazonaws.com"}), json!({})),
        };
        json!({
            "Effect": "Allow", "Action": action, "Principal": principal, "Condition": {"StringEquals": condition},
        })
    }
}
