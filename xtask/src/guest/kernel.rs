//! The kernel inside a bzImage: the virtual machine starts the plain one, for a processor that is emulated unpacks slowly.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// How a payload is packed, told by its first bytes, and the program that unpacks it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packed {
    Zstd,
    Xz,
    Gzip,
}

impl Packed {
    fn of(payload: &[u8]) -> Option<Packed> {
        [(Packed::Zstd, &b"\x28\xb5\x2f\xfd"[..]), (Packed::Xz, b"\xfd7zXZ\0"), (Packed::Gzip, b"\x1f\x8b")]
            .into_iter()
            .find_map(|(packed, magic)| payload.starts_with(magic).then_some(packed))
    }

    fn program(self) -> &'static str {
        match self {
            Packed::Zstd => "zstd",
            Packed::Xz => "xz",
            Packed::Gzip => "gzip",
        }
    }

    /// All but gzip, which has it in its own format, are followed by four bytes with the size of what they hold.
    fn trailer(self) -> usize {
        match self {
            Packed::Zstd | Packed::Xz => 4,
            Packed::Gzip => 0,
        }
    }
}

/// Where a bzImage holds its payload, by its own header (Documentation/arch/x86/boot.rst in the kernel's sources).
pub(super) fn payload(image: &[u8]) -> Result<(Packed, &[u8])> {
    let number = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the kernel's file is too short")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    if image.get(0x202..0x206) != Some(b"HdrS") {
        bail!("the kernel's file is no bzImage");
    }
    if number(0x206)? & 0xffff < 0x208 {
        bail!("the kernel's file is of a boot protocol before 2.08");
    }
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + number(0x248)?;
    let bytes = image.get(start..start + number(0x24c)?).context("the kernel's payload ends beyond its file")?;
    let packed = Packed::of(bytes).context("the kernel's payload is packed in a way that we do not know")?;
    let end = bytes.len().checked_sub(packed.trailer()).context("the kernel's payload is empty")?;
    Ok((packed, &bytes[..end]))
}

/// The plain kernel of a bzImage.
pub(super) fn unpack(image: &[u8]) -> Result<Vec<u8>> {
    let (packed, payload) = payload(image)?;
    let plain = filter(Command::new(packed.program()).arg("-dc"), payload)?;
    if !plain.starts_with(b"\x7fELF") {
        bail!("what the kernel's file holds is no ELF file");
    }
    Ok(plain)
}

/// Runs a program over some bytes.
fn filter(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().context("cannot run the unpacker")?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut output = Vec::new();
    let (written, read) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input)));
        let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_end(&mut output));
        (writer.join(), read)
    });
    let status = child.wait().context("cannot wait for the unpacker")?;
    read.context("cannot read what the unpacker writes")?;
    match written {
        Ok(Ok(())) if status.success() => Ok(output),
        Ok(_) | Err(_) => bail!("the kernel could not be unpacked: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * 512 + 16];
        image[0x1f1] = 1;
        image[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"what follows");
        image
    }

    #[test]
    fn the_payload_is_where_the_header_says() {
        let zstd = b"\x28\xb5\x2f\xfdabcSIZE";
        assert_eq!(payload(&image(zstd)).unwrap(), (Packed::Zstd, &zstd[..7]));
        assert_eq!(payload(&image(b"\x1f\x8babc")).unwrap(), (Packed::Gzip, &b"\x1f\x8babc"[..]));
        assert_eq!(payload(&image(b"\xfd7zXZ\0SIZE")).unwrap().0, Packed::Xz);
    }

    #[test]
    fn what_is_no_kernel_is_an_error() {
        let good = image(b"\x1f\x8babc");
        assert!(payload(b"").is_err() && payload(&good[..600]).is_err() && payload(&[0; 4096]).is_err());
        assert!(payload(&image(b"unknown")).is_err() && payload(&image(b"")).is_err());
        let mut beyond = good.clone();
        beyond[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(payload(&beyond).is_err());
        let mut old = good;
        old[0x206..0x208].copy_from_slice(&0x207u16.to_le_bytes());
        assert!(payload(&old).is_err());
    }

    #[test]
    fn a_kernel_is_unpacked() {
        let packed = filter(Command::new("gzip").arg("-c"), b"\x7fELF and more").unwrap();
        assert_eq!(unpack(&image(&packed)).unwrap(), b"\x7fELF and more");
        assert!(unpack(&image(&filter(Command::new("gzip").arg("-c"), b"text").unwrap())).is_err());
        assert!(unpack(&image(b"\x1f\x8bno gzip")).is_err());
    }
}
