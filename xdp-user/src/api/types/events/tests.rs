//! Events as JSON.

use super::*;

fn round_trip(event: &Event) -> serde_json::Value {
    let text = serde_json::to_string(event).unwrap();
    assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn an_event_is_one_flat_object_that_names_its_kind() {
    let at: Timestamp = "2026-11-25T05:00:00Z".parse().unwrap();
    let value = round_trip(&Event {
        number: 7,
        at,
        what: Happening::Unban(BanEnded {
            source: "192.0.2.7".parse().unwrap(),
            cause: UnbanCause::Lifted,
        }),
    });
    assert_eq!(
        value,
        serde_json::json!({
            "number": 7, "at": "2026-11-25T05:00:00Z", "kind": "unban",
            "source": "192.0.2.7", "cause": "lifted",
        })
    );
    let value = round_trip(&Event {
        number: 8,
        at,
        what: Happening::Sample(Box::new(Sample {
            interface: Some("eth0".into()),
            reason: "blocklisted".into(),
            action: "dropped".into(),
            source: "2001:db8::1".parse().ok(),
            list: Some("manual".into()),
            class: None,
            stands_for: 12,
            length: 60,
            frame: FrameBytes(vec![0, 0x7f, 0xff]),
            bare_ip: false,
        })),
    });
    assert_eq!(
        (&value["kind"], &value["frame"]),
        (&"sample".into(), &"007fff".into())
    );
}

#[test]
fn kinds_have_one_name_everywhere() {
    for kind in EventKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        let word = clap::ValueEnum::to_possible_value(&kind).unwrap();
        assert_eq!(word.get_name(), kind.name());
    }
}

#[test]
fn bytes_are_pairs_of_digits() {
    for text in ["", "00", "ff7F"] {
        assert_eq!(
            text.parse::<FrameBytes>().unwrap().to_string(),
            text.to_lowercase()
        );
    }
    for text in ["0", "0g", "+1", "é"] {
        assert_eq!(text.parse::<FrameBytes>(), Err(FrameBytesError), "{text}");
    }
}
