//! Byte streams of such clients, fed as a whole and in every cut, and sent to a server.

use std::time::Duration;

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
};
use tonic::service::Routes;

use super::*;
use crate::socket::{listen, serve};

/// What grpcio 1.85.3 (grpc-core 58) sent for two calls of Probe on one connection, to a server that sent nothing but empty settings. The
/// name is written out in the first block, and the second one refers to it.
const PYTHON: &str = "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a000024040000000000000200000000000300000000000400400000000500400000000600 \
    004000fe0300000001000004080000000000003f00010000000401000000000000ed01040000000140053a70617468162f6373692e76312e4964656e \
    746974792f50726f6265400a3a617574686f7269747916746d702532467265672d742532466373692e736f636b8386400c636f6e74656e742d747970 \
    65106170706c69636174696f6e2f677270634002746508747261696c6572734014677270632d6163636570742d656e636f64696e67176964656e7469 \
    74792c206465666c6174652c20677a6970400c677270632d74696d656f7574043639396d400a757365722d6167656e7430677270632d707974686f6e \
    2f312e38352e3320677270632d632f35382e302e3020286c696e75783b20636874747032290000040800000000010000000500000500010000000100 \
    00000000000004080000000000000000050000040300000000010000000800001b010400000003c4c38386c2c1c0400c677270632d74696d656f7574 \
    043730316dbf00000408000000000300000005000005000100000003000000000000000403000000000300000008";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap()).collect()
}

fn fed<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut frames, mut out) = (Frames::default(), Vec::new());
    cuts.into_iter().for_each(|cut| frames.feed(cut, &mut out));
    frames.end(&mut out);
    out
}

fn frame(kind: u8, flags: u8, stream: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], body].concat()
}

fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b"")].concat()
}

/// POST, http, /csi.v1.Identity/Probe, then `:authority` as given, te and the type of the content.
fn block(authority: &[u8]) -> Vec<u8> {
    let path = b"/csi.v1.Identity/Probe";
    let rest = b"\x40\x02te\x08trailers\x5f\x10application/grpc";
    [&[0x83, 0x86, 0x44, 22], &path[..], authority, rest].concat()
}

const PLAIN: &[u8] = b"\x41\x0d/run/csi.sock";
const SQUEEZED: &[u8] = b"\x41\x8a\x62\xcb\x6a\x60\x88\x32\xe8\x39\x3a\xff";

/// A whole conversation with these frames of headers.
fn conversation(headers: &[Vec<u8>]) -> Vec<u8> {
    [preface(), headers.concat(), frame(0, 1, 1, &[0; 5])].concat()
}

/// One for each way to send a block.
fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let (plain, squeezed) = (block(PLAIN), block(SQUEEZED));
    let padded = [&[7], &plain[..], &[0; 7]].concat();
    let both = [&[7, 0, 0, 0, 0, 15], &squeezed[..], &[0; 7]].concat();
    // In the midst of the value.
    let (one, two) = plain.split_at(4 + 22 + 5);
    vec![
        ("plain", conversation(&[frame(1, 4, 1, &plain)])),
        ("squeezed", conversation(&[frame(1, 4, 1, &squeezed)])),
        ("padded", conversation(&[frame(1, 4 | 8, 1, &padded)])),
        ("with priority and padding", conversation(&[frame(1, 4 | 8 | 0x20, 1, &both)])),
        ("continued", conversation(&[frame(1, 0, 1, one), frame(9, 0, 1, b""), frame(9, 4, 1, two)])),
        ("Python", bytes(PYTHON)),
    ]
}

#[test]
fn a_path_is_no_path_any_more_however_it_comes_in() {
    for (what, sent) in conversations() {
        let whole = fed([&sent[..]]);
        assert_eq!(whole.len(), sent.len(), "{what}");
        assert_ne!(whole, sent, "{what}");
        assert_eq!(fed(sent.chunks(1)), whole, "{what}, byte by byte");
        for cut in 0..sent.len() {
            assert_eq!(fed([&sent[..cut], &sent[cut..]]), whole, "{what}, cut at {cut}");
        }
    }
    let python = fed([&bytes(PYTHON)[..]]);
    let has = |text: &str| python.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("tmp-2Freg-t-2Fcsi.sock") && has("/csi.v1.Identity/Probe") && !has("%2F"));
}

#[test]
fn what_is_not_a_block_in_order_passes_as_it_is() {
    let plain = block(PLAIN);
    for (what, headers) in [
        ("cut off", vec![frame(1, 4, 1, &plain)[..30].to_vec()]),
        ("with a frame between", vec![frame(1, 0, 1, &plain), frame(6, 0, 0, &[0; 8]), frame(9, 4, 1, b"")]),
        ("of no block", vec![frame(9, 4, 1, &plain)]),
        ("more padding than frame", vec![frame(1, 4 | 8, 1, &[255, 1, 2])]),
        ("no room for its padding", vec![frame(1, 4 | 8, 1, b"")]),
        ("no room for its priority", vec![frame(1, 4 | 0x20, 1, b"abc")]),
        ("data that looks like one", vec![frame(0, 4, 1, &plain)]),
    ] {
        let sent = [preface(), headers.concat()].concat();
        assert_eq!(fed([&sent[..]]), sent, "{what}");
    }
}

#[test]
fn no_more_is_held_than_is_bounded() {
    let part = frame(9, 0, 1, &[0x80; 16 << 10]);
    let (mut frames, mut out) = (Frames::default(), Vec::new());
    frames.feed(&[preface(), frame(1, 0, 1, &[0x80; 16 << 10])].concat(), &mut out);
    for _ in 0..100 {
        frames.feed(&part, &mut out);
        assert!(frames.held.len() <= MOST + HEAD, "{}", frames.held.len());
    }
    frames.feed(&frame(9, 0, 1, b"")[..3], &mut out);
    frames.end(&mut out);
    assert_eq!(out.len(), preface().len() + 101 * (HEAD + (16 << 10)) + 3);
}

proptest! {
    #[test]
    fn whatever_comes_passes_and_cuts_make_no_difference(
        body in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(4), Just(9), any::<u8>()], 0..400),
        cut in 0_usize..400,
    ) {
        let sent = [preface(), body].concat();
        let whole = fed([&sent[..]]);
        prop_assert_eq!(whole.len(), sent.len());
        let cut = cut.min(sent.len());
        prop_assert_eq!(fed([&sent[..cut], &sent[cut..]]), whole);
    }
}

/// The same without the frames by which the client gave up, since nobody answered what was recorded.
fn patient(sent: &[u8]) -> Vec<u8> {
    let (preface, mut frames) = sent.split_at(PREFACE);
    let mut kept = preface.to_vec();
    while !frames.is_empty() {
        let (frame, later) = frames.split_at(HEAD + usize::from(frames[2]));
        if frame[3] != 3 {
            kept.extend_from_slice(frame);
        }
        frames = later;
    }
    kept
}

/// The kinds of frames that a server sends to such a client, until so many calls were answered or one was refused.
async fn answers(sent: &[u8], calls: usize) -> Vec<u8> {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("csi.sock");
    let (listener, _name) = listen::listen(&path).unwrap();
    let (_stop, stopped) = watch::channel(false);
    // It knows no method: that it says so is enough.
    let serving = tokio::spawn(serve::answer(Routes::default(), listener, stopped));
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(sent).await.unwrap();
    let mut kinds = Vec::new();
    while kinds.iter().filter(|kind| **kind == 1).count() < calls && !kinds.contains(&3) {
        let mut head = [0; HEAD];
        let came = tokio::time::timeout(Duration::from_secs(30), client.read_exact(&mut head)).await;
        came.unwrap_or_else(|_| panic!("nothing more after {kinds:?}")).unwrap();
        let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        client.read_exact(&mut body).await.unwrap();
        kinds.push(head[3]);
    }
    serving.abort();
    kinds
}

#[tokio::test]
async fn a_server_answers_such_a_client() {
    for (what, sent) in conversations() {
        let calls = if what == "Python" { 2 } else { 1 };
        let kinds = answers(&patient(&sent), calls).await;
        assert!(!kinds.contains(&3), "{what}: {kinds:?}");
    }
}
