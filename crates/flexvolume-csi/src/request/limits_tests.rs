//! Each limit from both of its sides.

use flexvolume_protocol::DriverName;
use tonic::Code;

use super::*;

fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.map_or_else(|status| status.code(), |_| Code::Ok)
}

const RPC: Rpc = Rpc::ListSnapshots(status::Page::First);

#[test]
fn fields_have_the_limits_of_the_specification() {
    let text = |bytes: usize| "x".repeat(bytes);
    let rooted = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    let rows = [
        ("string", code(string("f", "")), Code::Ok),
        ("string", code(string("f", &text(128))), Code::Ok),
        ("string", code(string("f", &text(129))), Code::InvalidArgument),
        ("bytes, not characters", code(string("f", &"ä".repeat(65))), Code::InvalidArgument),
        ("required", code(required("f", "")), Code::InvalidArgument),
        ("required", code(required("f", "x")), Code::Ok),
        ("node", code(node("f", &text(256))), Code::Ok),
        ("node", code(node("f", &text(257))), Code::InvalidArgument),
        ("node", code(node("f", "")), Code::InvalidArgument),
        ("path", code(path("f", &rooted(4095))), Code::Ok),
        ("path", code(path("f", &rooted(4096))), Code::InvalidArgument),
        ("path", code(path("f", "")), Code::InvalidArgument),
        ("path", code(path("f", "a/b")), Code::InvalidArgument),
        ("path", code(path("f", "/a\0b")), Code::InvalidArgument),
        ("strings", code(strings("f", &[text(4000), text(96)])), Code::Ok),
        ("strings", code(strings("f", &[text(4000), text(97)])), Code::InvalidArgument),
    ];
    for (field, got, wanted) in rows {
        assert_eq!(got, wanted, "{field}");
    }
}

#[test]
fn a_name_is_any_text_without_control_characters() {
    for good in ["pvc-1", "ä b", "a/b", "..", "$(x)", "a\tb", "a\nb", "a\rb", "\u{202e}", "\u{1f600}"] {
        assert_eq!(code(name("name", good)), Code::Ok, "{good:?}");
    }
    for bad in ["", "a\0", "\u{8}", "\u{b}", "\u{c}", "\u{e}", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}"] {
        let status = name("name", bad).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{bad:?}");
        assert!(!status.message().chars().any(char::is_control), "{bad:?}");
    }
    assert_eq!(code(name("name", &"x".repeat(129))), Code::InvalidArgument);
}

#[test]
fn an_id_that_nobody_can_have_given_is_nobodys() {
    assert_eq!(id("volume_id", "vg/lv").unwrap().unwrap().as_str(), "vg/lv");
    for nobodys in ["/vg/lv", "vg/", "a\0b"] {
        assert_eq!(id("volume_id", nobodys).unwrap(), None, "{nobodys:?}");
    }
    assert_eq!(code(id("volume_id", "")), Code::InvalidArgument);
    assert_eq!(code(id("volume_id", &"x".repeat(129))), Code::InvalidArgument);
}

#[test]
fn maps_are_weighed_whole_and_their_values_never_shown() {
    let of = |bytes: usize| BTreeMap::from([("key".to_owned(), "v".repeat(bytes - 3))]);
    assert_eq!(code(map("parameters", &of(4096))), Code::Ok);
    let status = map("parameters", &of(4097)).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(!status.message().contains("vvv"), "{status}");
    assert_eq!(code(secrets(&of(1 << 20))), Code::Ok, "a whole Secret of Kubernetes");
    assert_eq!(code(secrets(&of((1 << 20) + 1))), Code::InvalidArgument);
}

#[test]
fn sizes_that_can_be() {
    let of = |required_bytes, limit_bytes| size(Some(&CapacityRange { required_bytes, limit_bytes }));
    assert_eq!(size(None).unwrap(), Size::default());
    let good = [
        ((0, 0), Size { required: 0, limit: None }),
        ((5, 0), Size { required: 5, limit: None }),
        ((0, 5), Size { required: 0, limit: Some(5) }),
        ((5, 5), Size { required: 5, limit: Some(5) }),
        ((i64::MAX, 0), Size { required: i64::MAX as u64, limit: None }),
    ];
    for ((required, limit), wanted) in good {
        assert_eq!(of(required, limit).unwrap(), wanted);
    }
    for (required, limit, wanted) in
        [(-1, 0, Code::InvalidArgument), (0, -1, Code::InvalidArgument), (6, 5, Code::OutOfRange)]
    {
        assert_eq!(code(of(required, limit)), wanted, "{required} {limit}");
    }
    let grow = |required_bytes, limit_bytes| code(growth(Some(&CapacityRange { required_bytes, limit_bytes })));
    assert_eq!([grow(5, 0), grow(0, 5)], [Code::Ok; 2]);
    assert_eq!([grow(0, 0), code(growth(None)), grow(-1, 0)], [Code::InvalidArgument; 3]);
}

#[test]
fn pages_that_can_be() {
    assert_eq!(page(0, "").unwrap(), Wanted::default());
    let later = page(7, "t").unwrap();
    assert_eq!((later.max, later.page()), (7, status::Page::Later));
    assert_eq!(page(7, "").unwrap().page(), status::Page::First);
    assert_eq!(code(page(-1, "")), Code::InvalidArgument);
    assert_eq!(code(page(0, &"t".repeat(129))), Code::Aborted);
}

#[test]
fn what_a_driver_says_too_much_of_is_not_passed_on() {
    let of = |bytes: usize| BTreeMap::from([("k".to_owned(), "v".repeat(bytes - 1))]);
    assert_eq!(code(answer(RPC, "token", "x".repeat(128))), Code::Ok);
    assert_eq!(code(answer(RPC, "token", "x".repeat(129))), Code::Internal);
    assert_eq!(code(answers(RPC, "options", of(4096))), Code::Ok);
    assert_eq!(code(answers(RPC, "options", of(4097))), Code::Internal);
    assert_eq!(code(answers(Rpc::CreateVolume, "options", of(4097))), Code::Unavailable, "there is a volume now");
    assert_eq!(bytes(RPC, None).unwrap(), 0);
    assert_eq!(bytes(RPC, Some(i64::MAX as u64)).unwrap(), i64::MAX);
    assert_eq!(code(bytes(RPC, Some(1 << 63))), Code::Internal);
    assert_eq!(words("the pool is full"), "the pool is full");
    for long in ["x".repeat(500), "ä".repeat(100), "\u{1b}".repeat(60), "x".repeat(127) + "ä"] {
        let cut = words(&long);
        assert!(cut.len() <= 128 && cut.len() > 120 && cut.ends_with('…'), "{cut}");
    }
}

#[test]
fn a_node_says_where_its_volumes_live() {
    let driver = DriverName::parse("example.com/lvm").unwrap();
    let name = CsiName::usual(&driver).unwrap();
    let segments = topology(&name, "node-1.example.com").unwrap().segments;
    assert_eq!(segments, BTreeMap::from([("lvm.example.com/node".to_owned(), "node-1.example.com".to_owned())]));
    assert!(topology(&name, &"n".repeat(63)).is_ok());
    for bad in ["", "-a", "a-", "a b", "ä", "a/b", &"n".repeat(64)] {
        assert!(topology(&name, bad).is_err(), "{bad:?}");
    }
    let longest = CsiName::given(&driver, &"a".repeat(63)).unwrap();
    let key = topology(&longest, "n").unwrap().segments.into_keys().next().unwrap();
    assert_eq!(key.split_once('/').unwrap().0.len(), 63);
    assert!(own_node(&"n".repeat(256)).is_ok() && own_node("").is_err() && own_node(&"n".repeat(257)).is_err());
}
