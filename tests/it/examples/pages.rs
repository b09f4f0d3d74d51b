//! Lists of an example by pages.

use serde_json::json;

use super::{Example, ids};

/// All pages of at most so many; between them something is done with the number of the page.
fn walk(example: &Example, max: &str, between: impl Fn(usize)) -> Vec<Vec<String>> {
    let (mut pages, mut token) = (Vec::new(), json!(""));
    loop {
        let page = example.ok("listvolumes", &json!({"flexvol/max": max, "flexvol/token": token}));
        pages.push(ids(&page["volumes"], "id"));
        if page["next"].is_null() {
            return pages;
        }
        token = page["next"].clone();
        between(pages.len());
    }
}

#[test]
fn every_page_is_full_and_all_of_them_are_the_list() {
    for example in Example::both() {
        assert_eq!(walk(&example, "2", |_| ()), [Vec::<String>::new()]);
        for name in ["c", "B", "a.1", "a-2", "1"] {
            example.make(name);
        }
        let all = ["1", "B", "a-2", "a.1", "c"];
        for (max, lengths) in [("2", vec![2, 2, 1]), ("5", vec![5]), ("", vec![5]), ("0", vec![5]), ("999999", vec![5])]
        {
            let pages = walk(&example, max, |_| ());
            assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), lengths, "{} {max:?}", example.file);
            assert_eq!(pages.concat(), all, "{} {max:?}", example.file);
        }
        for options in [
            json!({"flexvol/max": "ten"}),
            json!({"flexvol/max": "-1"}),
            json!({"flexvol/token": "/"}),
            json!({"flexvol/token": "a\nb"}),
        ] {
            example.fails("listvolumes", &options, "invalid");
        }
    }
}

#[test]
fn a_list_that_changes_between_pages_repeats_and_loses_nothing_that_stays() {
    for example in Example::both() {
        for name in ["b", "d", "f", "h"] {
            example.make(name);
        }
        let pages = walk(&example, "2", |page| {
            if page == 1 {
                example.ok("deletevolume", &json!({"flexvol/id": "d"}));
                example.make("a");
            }
        });
        assert_eq!(pages.concat(), ["b", "d", "f", "h"], "{}", example.file);
    }
}

/// As the book says of every list: what was made is in it, as it was answered.
#[test]
fn a_volume_is_listed_as_it_was_answered() {
    for example in Example::both() {
        let mut volume = example.ok("createvolume", &json!({"flexvol/name": "a", "flexvol/requiredBytes": "4096"}));
        volume.as_object_mut().unwrap().remove("status");
        assert_eq!(example.ok("listvolumes", &json!({}))["volumes"], json!([volume]));
    }
}
