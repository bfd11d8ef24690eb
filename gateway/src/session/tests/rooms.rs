//! Whatever a client sends, in whatever order: it is in no room that the policy denies it.

use proptest::prelude::*;

use super::*;
use crate::joining::Entry;

/// Doors that are always open.
struct Open;

impl Doors for Open {
    fn enter(&self, _: &RoomName) -> Entry {
        Entry::Now(Box::new(()))
    }
}

const EVENTS: [(&str, Option<&str>); 9] = [
    ("subscribe:whatsapp", Some("whatsapp_accounts")),
    ("subscribe:campaign", Some("campaigns")),
    ("subscribe:contact", Some("contacts")),
    ("unsubscribe:whatsapp", None),
    ("unsubscribe:contact", None),
    ("typing:start", None),
    ("typing:stop", None),
    ("ping", None),
    ("nobody:knows", None),
];

fn argument() -> impl Strategy<Value = serde_json::Value> {
    let name = prop_oneof![
        "[a-c*]",
        "[a-c]:[a-c]",
        "\\PC{0,6}",
        Just("x,whatsapp:a".to_owned())
    ];
    prop_oneof![
        name.clone().prop_map(serde_json::Value::from),
        (0..5_u64).prop_map(serde_json::Value::from),
        name.clone()
            .prop_map(|name| json!({"contactId": name, "userId": "forged"})),
        name.clone().prop_map(|name| json!([name])),
        name.prop_map(|name| json!({"toString": name, "length": 1})),
        Just(serde_json::Value::Null),
    ]
}

proptest! {
    #[test]
    fn no_client_gets_into_a_room_that_its_rule_denies(
        lists in prop::collection::vec(prop::collection::vec("[a-c]", 0..3), 3),
        sent in prop::collection::vec((0..EVENTS.len(), argument()), 0..40),
    ) {
        let [accounts, campaigns, contacts] = lists.try_into().unwrap();
        let claims = json!({"sub": "42", "whatsapp_accounts": accounts, "campaigns": campaigns, "contacts": contacts});
        let house = House::built(crate::policy::WHATSAPP_CRM, &claims, Box::new(Open) as Box<dyn Doors>).0;
        for (event, argument) in sent {
            house.say(EVENTS[event].0, &argument);
            for room in house.rooms() {
                let allowed = EVENTS.iter().filter_map(|(event, list)| {
                    let prefix = event.strip_prefix("subscribe:")?;
                    Some((prefix, claims[(*list)?].as_array()?))
                });
                // Written down here once more: the pattern of the rule, with a name that its claim lists.
                let is_allowed = allowed.clone().any(|(prefix, list)| {
                    list.iter().any(|name| room == format!("{prefix}:{}", name.as_str().unwrap()))
                });
                prop_assert!(is_allowed, "{} with {}", room, claims);
            }
        }
    }
}
