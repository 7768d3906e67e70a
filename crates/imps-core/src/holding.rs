//! What stands at a target's name in a namespace, and whose it is. Ownership is decided here and nowhere else.

use sha2::{Digest, Sha256};

use crate::grant::Grant;
use crate::name::{GrantName, NamespaceName, SecretName, Uid};
use crate::selector::Tags;

/// The only type of Secret that imps writes.
pub const TARGET_TYPE: &str = "kubernetes.io/dockerconfigjson";

/// `metadata.resourceVersion` as a number, which Kubernetes 1.35 and later promise to be comparable
/// (kubernetes/enhancements KEP-5504). Zero stands for "not known".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Version(pub u64);

impl Version {
    /// Reads the text of the API; anything but a number counts as not known.
    pub fn parse(text: &str) -> Self {
        Self(text.parse().unwrap_or(0))
    }
}

/// SHA-256 over everything that imps writes on a Secret. It lives in memory only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// `payload` is the SHA-256 of the docker config; labels and annotations are those that imps manages.
    pub fn of(payload: &[u8; 32], labels: &Tags, annotations: &Tags, owners: &[Uid]) -> Self {
        let mut hash = Sha256::new();
        hash.update(payload);
        for tags in [labels, annotations] {
            hash.update((tags.len() as u64).to_be_bytes());
            for text in tags.iter().flat_map(|(key, value)| [key, value]) {
                // The length in front keeps ("ab","c") and ("a","bc") apart.
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text);
            }
        }
        for owner in owners {
            hash.update((owner.as_str().len() as u64).to_be_bytes());
            hash.update(owner.as_str());
        }
        Self(hash.finalize().into())
    }
}

/// A Secret as the API server shows it, reduced to what matters; the bytes are digested and gone.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.resourceVersion`.
    pub version: Version,
    /// `type`.
    pub secret_type: String,
    /// SHA-256 of the value under `.dockerconfigjson`.
    pub payload: [u8; 32],
    /// Labels that the field manager `imps` applied and that are still its own, with their values.
    pub labels: Tags,
    /// The same for annotations.
    pub annotations: Tags,
    /// UIDs of all owners that are of our kind.
    pub owners: Vec<Uid>,
    /// Those owners that the field manager `imps` applied.
    pub applied_owners: Vec<Uid>,
    /// The value of our owner label.
    pub owner_label: Option<Uid>,
    /// The field manager `imps` applied something that is still its own.
    pub applied: bool,
    /// Nobody but `imps` has written the credentials.
    pub pristine: bool,
    /// The original's annotation with a copy of the credentials is on it.
    pub legacy_copy: bool,
    /// `immutable: true`.
    pub immutable: bool,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// The `ImagePullSecret` that may take it over, by an annotation on it.
    pub consent: Option<GrantName>,
    /// What controls it, by its owner references: `ExternalSecret hub`. Tools that imps replaces do not count.
    pub controller: Option<String>,
}

/// What imps remembers of a Secret at a target's name: some 150 bytes and no content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.resourceVersion`.
    pub version: Version,
    /// Who owns it.
    pub owner: Owner,
    /// What stands in it, of the things that imps writes.
    pub fingerprint: Fingerprint,
    /// Nobody but imps has written the credentials.
    pub pristine: bool,
    /// The original's annotation with a copy of the credentials is on it.
    pub legacy_copy: bool,
    /// Nobody can change it.
    pub immutable: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// Whose a Secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// It has our type, and an owner reference of our kind names this grant. The garbage collector would delete it
    /// with the grant, so it is ours by Kubernetes' own rules.
    Grant(Uid),
    /// It has our type, our label and fields that we applied, but somebody removed the owner reference. Ours if the
    /// grant lives.
    Stripped(Uid),
    /// Somebody else's.
    Other {
        /// Its type, for the report.
        secret_type: String,
        /// The grant that may take it over, by an annotation on it.
        consent: Option<GrantName>,
        /// The object that controls it, which would write it again if it were taken over.
        controller: Option<String>,
    },
}

impl Holding {
    /// Whether it was made for this grant.
    pub fn is_of(&self, grant: &Uid) -> bool {
        self.grant() == Some(grant)
    }

    /// The grant that it belongs to, or did.
    pub(crate) fn grant(&self) -> Option<&Uid> {
        match &self.owner {
            Owner::Grant(uid) | Owner::Stripped(uid) => Some(uid),
            Owner::Other { .. } => None,
        }
    }
}

impl From<Sighting> for Holding {
    fn from(seen: Sighting) -> Self {
        let fingerprint =
            Fingerprint::of(&seen.payload, &seen.labels, &seen.annotations, &seen.applied_owners);
        let Sighting { secret_type, consent, controller, .. } = seen;
        let owner = match (seen.owners.first(), seen.owner_label) {
            _ if secret_type != TARGET_TYPE => Owner::Other { secret_type, consent, controller },
            // Two owners of our kind: the label says which one wrote last.
            (Some(_), Some(label)) if seen.owners.contains(&label) => Owner::Grant(label),
            (Some(first), _) => Owner::Grant(first.clone()),
            (None, Some(label)) if seen.applied => Owner::Stripped(label),
            (None, _) => Owner::Other { secret_type, consent, controller },
        };
        Self {
            uid: seen.uid,
            version: seen.version,
            owner,
            fingerprint,
            pristine: seen.pristine,
            legacy_copy: seen.legacy_copy,
            immutable: seen.immutable,
            deleting: seen.deleting,
        }
    }
}

/// The answer to "may imps write here?".
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim<'a> {
    /// Nothing is there.
    Vacant,
    /// imps made it.
    Ours(Owned, &'a Holding),
    /// Somebody else's: never touched.
    Foreign(&'a Holding),
}

/// Proof that imps owns a Secret, in the version that was seen. Only [`claim`] and [`adopt`] make one, and an update or
/// a delete cannot be written without one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owned {
    namespace: NamespaceName,
    name: SecretName,
    uid: Uid,
    version: Version,
    grant: Uid,
}

impl Owned {
    fn new(namespace: &NamespaceName, name: &SecretName, holding: &Holding, grant: &Uid) -> Self {
        Self {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: holding.uid.clone(),
            version: holding.version,
            grant: grant.clone(),
        }
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &NamespaceName {
        &self.namespace
    }

    /// Its name.
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// Its UID: every write names it, so that no other object of that name can be hit.
    pub fn uid(&self) -> &Uid {
        &self.uid
    }

    /// Its version when it was seen.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The grant that it was made for.
    pub fn grant(&self) -> &Uid {
        &self.grant
    }
}

/// Decides whose the Secret at a name is. `lives` says whether a grant with this UID exists.
pub fn claim<'a>(
    namespace: &NamespaceName,
    name: &SecretName,
    holding: Option<&'a Holding>,
    lives: impl Fn(&Uid) -> bool,
) -> Claim<'a> {
    let Some(holding) = holding else { return Claim::Vacant };
    let grant = match &holding.owner {
        // The owner may be gone: the Secret was ours all the same, and the garbage collector is about to say so too.
        Owner::Grant(uid) => uid,
        Owner::Stripped(uid) if lives(uid) => uid,
        Owner::Stripped(_) | Owner::Other { .. } => return Claim::Foreign(holding),
    };
    Claim::Ours(Owned::new(namespace, name, holding, grant), holding)
}

/// What somebody else's Secret may become ours by. It is explicit: an annotation on the Secret names the grant, or the
/// grant says so for all Secrets of the name. The latter does not cover a Secret that another controller keeps, as that
/// one would write it again.
pub fn adopt(
    namespace: &NamespaceName,
    name: &SecretName,
    holding: &Holding,
    grant: &Grant,
) -> Option<Owned> {
    let may = match &holding.owner {
        Owner::Grant(_) => false,
        Owner::Stripped(_) => grant.template.adopt,
        Owner::Other { secret_type, .. } if secret_type != TARGET_TYPE => false,
        Owner::Other { consent, controller, .. } => {
            consent.as_ref() == Some(&grant.identity.name) || (grant.template.adopt && controller.is_none())
        }
    };
    may.then(|| Owned::new(namespace, name, holding, &grant.identity.uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Identity, Template};

    fn sighting() -> Sighting {
        Sighting {
            uid: "s".into(),
            version: Version(7),
            secret_type: TARGET_TYPE.to_owned(),
            payload: [0; 32],
            labels: Tags::new(),
            annotations: Tags::new(),
            owners: vec!["g".into()],
            applied_owners: vec!["g".into()],
            owner_label: Some("g".into()),
            applied: true,
            pristine: true,
            legacy_copy: false,
            immutable: false,
            deleting: false,
            consent: None,
            controller: None,
        }
    }

    fn is_ours(seen: Sighting, living: &str) -> bool {
        let holding = Holding::from(seen);
        matches!(
            claim(&"n".into(), &"t".into(), Some(&holding), |uid| uid.as_str() == living),
            Claim::Ours(..)
        )
    }

    #[test]
    fn what_imps_made_is_ours_even_when_relabelled_or_orphaned() {
        assert!(is_ours(sighting(), "g"));
        assert!(is_ours(Sighting { owner_label: None, ..sighting() }, "g"));
        assert!(is_ours(Sighting { owner_label: Some("forged".into()), ..sighting() }, "g"));
        assert!(is_ours(sighting(), "another"));
        assert!(is_ours(Sighting { owners: vec![], applied_owners: vec![], ..sighting() }, "g"));
    }

    #[test]
    fn what_the_original_made_is_ours() {
        assert!(is_ours(
            Sighting { applied: false, pristine: false, applied_owners: vec![], ..sighting() },
            "g"
        ));
    }

    #[test]
    fn everything_else_is_foreign() {
        assert!(!is_ours(Sighting { secret_type: "Opaque".into(), ..sighting() }, "g"));
        // A forged label alone proves nothing.
        assert!(!is_ours(Sighting { owners: vec![], applied: false, ..sighting() }, "g"));
        assert!(!is_ours(Sighting { owners: vec![], owner_label: None, ..sighting() }, "g"));
        // A stripped owner reference of a grant that is gone.
        assert!(!is_ours(Sighting { owners: vec![], ..sighting() }, "another"));
        assert_eq!(claim(&"n".into(), &"t".into(), None, |_| true), Claim::Vacant);
    }

    #[test]
    fn what_is_foreign_becomes_ours_only_by_a_clear_word() {
        let adopts = |seen: Sighting, adopt: bool| {
            let identity =
                Identity { name: "main".into(), uid: "g".into(), generation: 1, created_seconds: 0 };
            let template = Template { name: "t".into(), adopt, ..Template::default() };
            let grant = Grant { identity, template, ..Grant::default() };
            super::adopt(&"n".into(), &"t".into(), &Holding::from(seen), &grant).is_some()
        };
        let foreign = || Sighting { owners: vec![], owner_label: None, applied: false, ..sighting() };
        let consenting = |name: &str| Sighting { consent: Some(name.into()), ..foreign() };
        let controlled = |seen: Sighting| Sighting { controller: Some("ExternalSecret hub".into()), ..seen };
        assert!(!adopts(foreign(), false), "nobody said so");
        assert!(adopts(foreign(), true) && adopts(consenting("main"), false));
        assert!(!adopts(consenting("another"), false), "that one may, this one may not");
        assert!(!adopts(controlled(foreign()), true), "its controller would write it again");
        assert!(adopts(controlled(consenting("main")), false), "whoever annotates it knows");
        let opaque = |seen: Sighting| Sighting { secret_type: "Opaque".into(), ..seen };
        assert!(!adopts(opaque(foreign()), true) && !adopts(opaque(consenting("main")), true));
        assert!(!adopts(sighting(), true), "another grant's is no stranger's");
    }

    #[test]
    fn a_fingerprint_tells_labels_from_annotations_and_pairs_from_pairs() {
        let tag = |k: &str, v: &str| Tags::from([(k.to_owned(), v.to_owned())]);
        let none = Tags::new();
        let prints = [
            Fingerprint::of(&[0; 32], &none, &none, &[]),
            Fingerprint::of(&[1; 32], &none, &none, &[]),
            Fingerprint::of(&[0; 32], &tag("ab", "c"), &none, &[]),
            Fingerprint::of(&[0; 32], &tag("a", "bc"), &none, &[]),
            Fingerprint::of(&[0; 32], &none, &tag("ab", "c"), &[]),
            Fingerprint::of(&[0; 32], &none, &none, &["g".into()]),
        ];
        let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
        assert_eq!(distinct.len(), prints.len());
    }
}
