//! What a write would change in a Secret, told by registries and without any credential.

use sha2::{Digest, Sha256};

use crate::dockerconfig::{self, Format};
use crate::holding::{Fingerprint, Holding};
use crate::keyring::Keyring;
use crate::registry::RegistryKey;
use crate::source::Document;
use crate::world::Sealed;

/// See the module. Registries are named by their keys, in the order of the keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// Registries that come.
    pub added: Vec<String>,
    /// Registries that get another credential.
    pub replaced: Vec<String>,
    /// Registries that go. What imps cannot read in the present content is not among them.
    pub removed: Vec<String>,
    /// The docker config is written in another way, with the same credentials.
    pub rewritten: bool,
    /// Labels, annotations or the owner reference change.
    pub metadata: bool,
}

impl Difference {
    /// A Secret that is made, or filled from nothing.
    pub fn made(sealed: &Sealed) -> Self {
        Self::of(&Keyring::new(), &content(sealed.payload.bytes()))
    }

    /// A Secret of ours that is brought to what it should be.
    pub fn updated(present: &Document, holding: &Holding, sealed: &Sealed) -> Self {
        let none = Vec::new();
        let bytes = present.data.get(Format::DockerConfigJson.data_key()).map_or(&none, |bytes| &**bytes);
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let template = &sealed.grant.template;
        let owner = std::slice::from_ref(&sealed.grant.identity.uid);
        let with_our_metadata = Fingerprint::of(&digest, &template.labels, &template.annotations, owner);
        let told = Self::of(&content(bytes), &content(sealed.payload.bytes()));
        let rewritten = digest != sealed.payload.digest()
            && [&told.added, &told.replaced, &told.removed].iter().all(|names| names.is_empty());
        Self { rewritten, metadata: with_our_metadata != holding.fingerprint, ..told }
    }

    /// A Secret that is deleted.
    pub fn deleted(present: &Document) -> Self {
        let bytes = present.data.get(Format::DockerConfigJson.data_key());
        Self::of(&bytes.map(|bytes| content(bytes)).unwrap_or_default(), &Keyring::new())
    }

    fn of(before: &Keyring, after: &Keyring) -> Self {
        let names = |keys: Vec<&RegistryKey>| keys.into_iter().map(ToString::to_string).collect();
        let lacks = |ring: &Keyring, key: &RegistryKey| ring.get(key).is_none();
        let differs = |key: &RegistryKey| !lacks(before, key) && before.get(key) != after.get(key);
        Self {
            added: names(after.registries().filter(|key| lacks(before, key)).collect()),
            replaced: names(after.registries().filter(|key| differs(key)).collect()),
            removed: names(before.registries().filter(|key| lacks(after, key)).collect()),
            rewritten: false,
            metadata: false,
        }
    }
}

fn content(bytes: &[u8]) -> Keyring {
    dockerconfig::parse(Format::DockerConfigJson, bytes).map(|parsed| parsed.keyring).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use zeroize::Zeroizing;

    use super::*;
    use crate::dockerconfig::render;
    use crate::grant::Grant;
    use crate::holding::{Owner, Version};
    use crate::name::Uid;
    use crate::selector::Tags;

    fn document(text: &str) -> Document {
        let key = Format::DockerConfigJson.data_key().to_owned();
        let data = BTreeMap::from([(key, Zeroizing::new(text.as_bytes().to_vec()))]);
        Document { data, ..Document::default() }
    }

    /// Entries with these users, whose password is `p`.
    fn config(entries: &[(&str, &str)]) -> String {
        let auths: Vec<String> = entries
            .iter()
            .map(|(registry, user)| format!(r#""{registry}":{{"username":"{user}","password":"p"}}"#))
            .collect();
        format!(r#"{{"auths":{{{}}}}}"#, auths.join(","))
    }

    fn sealed(entries: &[(&str, &str)]) -> Sealed {
        let payload = render(&content(config(entries).as_bytes())).expect("it is small");
        let grant = Arc::new(Grant::default());
        let owner = std::slice::from_ref(&grant.identity.uid);
        let fingerprint = Fingerprint::of(&payload.digest(), &Tags::new(), &Tags::new(), owner);
        Sealed { grant, payload, fingerprint, registries: entries.len() }
    }

    /// A Secret of ours with this content, and with this label where there should be none.
    fn held(text: &str, label: Option<&str>) -> (Document, Holding) {
        let labels = label.iter().map(|label| ((*label).to_owned(), String::new())).collect();
        let digest = Sha256::digest(text).into();
        let holding = Holding {
            uid: Uid::default(),
            version: Version::default(),
            owner: Owner::Grant(Uid::default()),
            fingerprint: Fingerprint::of(&digest, &labels, &Tags::new(), &[Uid::default()]),
            pristine: true,
            legacy_copy: false,
            immutable: false,
            deleting: false,
        };
        (document(text), holding)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_registry_is_told_by_what_becomes_of_it() {
        let wanted = sealed(&[("a.example", "new"), ("b.example", "same"), ("c.example", "new")]);
        let (present, holding) =
            held(&config(&[("b.example", "same"), ("c.example", "old"), ("d.example", "old")]), None);
        let expected = Difference {
            added: names(&["a.example"]),
            replaced: names(&["c.example"]),
            removed: names(&["d.example"]),
            ..Difference::default()
        };
        assert_eq!(Difference::updated(&present, &holding, &wanted), expected);
        assert_eq!(Difference::made(&wanted).added, names(&["a.example", "b.example", "c.example"]));
        assert_eq!(Difference::deleted(&present).removed, names(&["b.example", "c.example", "d.example"]));
    }

    #[test]
    fn what_is_no_credential_is_told_as_what_it_is() {
        let wanted = sealed(&[("a.example", "user")]);
        let as_written = String::from_utf8(wanted.payload.bytes().to_vec()).expect("it is JSON");
        let update = |text: &str, label| {
            let (present, holding) = held(text, label);
            Difference::updated(&present, &holding, &wanted)
        };
        assert_eq!(update(&as_written, None), Difference::default());
        assert_eq!(update(&as_written, Some("x")), Difference { metadata: true, ..Difference::default() });
        let otherwise = config(&[("a.example", "user")]);
        assert_eq!(update(&otherwise, None), Difference { rewritten: true, ..Difference::default() });
        assert_eq!(update("not json", None).added, names(&["a.example"]));
    }
}
