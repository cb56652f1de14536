//! JSON merge patch (RFC 7396): how a row meets the document of its key in a `merge` collection.
//!
//! Several writers keep their own members of one document, because a patch changes only what it names. A patch has no
//! time of its own: members that can be overtaken carry theirs, and whoever writes them compares. A sequence of patches
//! that is applied a second time, whole and in order, changes nothing; so a replay from the journal is harmless.

use serde_json::{Map, Value};

/// What `target` becomes by `patch`.
#[must_use]
pub fn merge(target: Value, patch: Value) -> Value {
    let Value::Object(members) = patch else {
        return patch;
    };
    let mut merged = match target {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (name, value) in members {
        if value.is_null() {
            merged.remove(&name);
        } else {
            let before = merged.remove(&name).unwrap_or_default();
            merged.insert(name, merge(before, value));
        }
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// RFC 7396, appendix A: all of its cases.
    #[test]
    fn the_vectors_of_the_rfc_hold() {
        for (target, patch, expected) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            assert_eq!(merge(target.clone(), patch.clone()), expected, "{target} {patch}");
        }
    }

    /// The example of the RFC's section 3.
    #[test]
    fn the_example_of_the_rfc_holds() {
        let target = json!({"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},
            "tags":["example","sample"],"content":"This will be unchanged"});
        let patch = json!({"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},
            "tags":["example"]});
        let expected = json!({"title":"Hello!","author":{"givenName":"John"},"tags":["example"],
            "content":"This will be unchanged","phoneNumber":"+01-123-456-7890"});
        assert_eq!(merge(target, patch), expected);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), (0..3i64).prop_map(Value::from), Just(json!([{"a": null}]))];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|members| members.into_iter().collect())
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[abc]", value(), 0..4).prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        /// A replay is whole and in order, from any place of the sequence on.
        #[test]
        fn patches_that_are_replayed_in_order_change_nothing(
            target in object(),
            patches in prop::collection::vec(object(), 1..6),
            from in any::<prop::sample::Index>(),
        ) {
            let once = patches.iter().cloned().fold(target, merge);
            let replayed = patches.iter().skip(from.index(patches.len())).cloned().fold(once.clone(), merge);
            prop_assert_eq!(replayed, once);
        }

        #[test]
        fn writers_of_different_members_do_not_disturb_each_other(
            target in object(), mine in value(), theirs in value(),
        ) {
            let (mine, theirs) = (json!({"mine": mine}), json!({"theirs": theirs}));
            let one = merge(merge(target.clone(), mine.clone()), theirs.clone());
            let other = merge(merge(target, theirs), mine);
            prop_assert_eq!(one, other);
        }
    }
}
