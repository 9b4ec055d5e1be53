//! `[events]`.

use super::*;

#[test]
fn events_are_sampled_slowly_and_have_no_file_unless_told() {
    let events = accepted("").events;
    assert_eq!(events.sampling.rate, "10/s".parse().ok());
    assert_eq!((events.sampling.one_in, events.sampling.bytes), (1, 128));
    assert_eq!(
        (events.outlets.file, events.outlets.mask_addresses),
        (None, false)
    );
}

#[test]
fn every_key_of_events_is_read() {
    let events = accepted(
        "[events]\nsamples = \"200/s\"\nsample_one_in = 50\nsample_bytes = 256\n\
         file = \"/var/log/x/events.jsonl\"\nfile_size = \"1MB\"\nfile_count = 9\n\
         mask_addresses = true\n",
    )
    .events;
    assert_eq!(events.sampling.rate, "200/s".parse().ok());
    assert_eq!((events.sampling.one_in, events.sampling.bytes), (50, 256));
    let outlets = events.outlets;
    assert_eq!(outlets.file, Some("/var/log/x/events.jsonl".into()));
    assert_eq!(
        (outlets.file_size.bytes(), outlets.file_count),
        (1_000_000, 9)
    );
    assert!(outlets.mask_addresses);
    assert_eq!(
        accepted("[events]\nsamples = \"off\"\n")
            .events
            .sampling
            .rate,
        None
    );
}

#[test]
fn mistakes_in_events_are_told_all_at_once() {
    let keys = |text: &str| -> Vec<String> {
        let places = places(&format!("mode = 1\n[events]\n{text}"));
        places.into_iter().map(|(_, _, key)| key).collect()
    };
    let values = keys("sample_one_in = 0\nsample_bytes = 63\nfile_count = 0\n");
    let wanted = [
        "mode",
        "events.sample_one_in",
        "events.sample_bytes",
        "events.file_count",
    ];
    assert_eq!(values, wanted);
    let meanings = keys("file = \"/\"\nfile_size = \"1kB\"\n");
    assert_eq!(meanings, ["mode", "events.file", "events.file_size"]);
}
