//! Which PersistentVolume a claim means: the static half of what the PersistentVolume controller of Kubernetes does.

use flexvolume_protocol::Namespace;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::object::{Found, Objects};
use super::problem::{ManifestError, shown};

type Claim = Found<PersistentVolumeClaim>;
type Volume = Found<PersistentVolume>;

/// A claim and the volume that is its.
pub(super) struct Bound<'a> {
    pub(super) claim: &'a Claim,
    pub(super) volume: &'a Volume,
}

/// Follows a claim by its `spec.volumeName`, else by a volume's `spec.claimRef`, else to the one volume that fits it and
/// no other claim. It never chooses among several.
pub(super) fn bind<'a>(objects: &'a Objects, namespace: &Namespace, name: &str) -> Result<Bound<'a>, ManifestError> {
    let what = format!("PersistentVolumeClaim {namespace}/{}", shown(name));
    let same = |claim: &&Claim| claim.namespace == *namespace && claim.name == name;
    let Some(claim) = objects.claims.iter().find(same) else {
        return Err(ManifestError::new(
            what,
            format!("is not among the manifests; looked in {}", objects.sources.join(", ")),
        )
        .hint("add the claim and its PersistentVolume to the manifests"));
    };
    let volume = match named(objects, claim, &what)? {
        Some(volume) => volume,
        None => only_match(objects, claim, &what)?,
    };
    Ok(Bound { claim, volume })
}

/// The volume that claim or volume name outright.
fn named<'a>(objects: &'a Objects, claim: &Claim, what: &str) -> Result<Option<&'a Volume>, ManifestError> {
    let claimants: Vec<&Volume> = objects.volumes.iter().filter(|volume| refers_to(volume, claim)).collect();
    let Some(name) = volume_name(claim) else {
        return match claimants[..] {
            [] => Ok(None),
            [volume] => {
                let why = too_small(volume, claim)?;
                why.map_or(Ok(Some(volume)), |why| Err(misfit(claim, volume, what, &[why])))
            }
            [first, second, ..] => Err(ManifestError::new(
                what,
                format!("two PersistentVolumes name it in claimRef: {} and {}", first.name, second.name),
            )
            .at(second.places.value("spec.claimRef"))
            .hint("leave claimRef in one of them")),
        };
    };
    let at = claim.places.value("spec.volumeName");
    let Some(volume) = objects.volumes.iter().find(|volume| volume.name == name) else {
        return Err(ManifestError::new(
            what,
            format!(
                "its volume, the PersistentVolume {}, is not among the manifests; looked in {}",
                shown(name),
                objects.sources.join(", ")
            ),
        )
        .at(at)
        .hint("add the PersistentVolume, or mend spec.volumeName"));
    };
    if refers_to(volume, claim) {
        return Ok(Some(volume));
    }
    if let Some(owner) = owner(volume) {
        return Err(ManifestError::new(
            what,
            format!("its volume, the PersistentVolume {name}, belongs to the claim {owner} by its claimRef"),
        )
        .at(at)
        .hint("give each claim a volume of its own"));
    }
    let rival = objects.claims.iter().find(|other| volume_name(other) == Some(name) && !std::ptr::eq(*other, claim));
    if let Some(rival) = rival {
        return Err(ManifestError::new(
            what,
            format!("the claim {} wants the same PersistentVolume {name}", rival.full_name()),
        )
        .at(at)
        .hint("give each claim a volume of its own; two pods may use one claim"));
    }
    match &misfits(volume, claim)?[..] {
        [] => Ok(Some(volume)),
        whys => Err(misfit(claim, volume, what, whys)),
    }
}

/// The one volume that fits a claim which names none.
fn only_match<'a>(objects: &'a Objects, claim: &Claim, what: &str) -> Result<&'a Volume, ManifestError> {
    let mut fitting = Vec::new();
    for volume in objects.volumes.iter().filter(|volume| is_free(objects, volume)) {
        if misfits(volume, claim)?.is_empty() {
            fitting.push(volume);
        }
    }
    let at = claim.places.start();
    let volume = match fitting[..] {
        [volume] => volume,
        [] => {
            let mut why = "no PersistentVolume among the manifests fits it".to_owned();
            for volume in objects.volumes.iter().filter(|volume| is_free(objects, volume)).take(5) {
                why.push_str(&format!("; {}: {}", volume.name, misfits(volume, claim)?.join(", ")));
            }
            return Err(ManifestError::new(what, why)
                .at(at)
                .hint("add a PersistentVolume and write its name into the claim: `volumeName: NAME`"));
        }
        [first, second, ..] => {
            return Err(ManifestError::new(
                what,
                format!("{} PersistentVolumes fit it, among them {} and {}", fitting.len(), first.name, second.name),
            )
            .at(at)
            .hint("say which: write `volumeName: NAME` into the claim"));
        }
    };
    for rival in objects.claims.iter().filter(|other| !std::ptr::eq(*other, claim)) {
        if volume_name(rival).is_none()
            && !objects.volumes.iter().any(|volume| refers_to(volume, rival))
            && misfits(volume, rival)?.is_empty()
        {
            return Err(ManifestError::new(
                what,
                format!("the PersistentVolume {} fits the claim {} as well", volume.name, rival.full_name()),
            )
            .at(at)
            .hint(format!("say which: write `volumeName: {}` into one of the claims", volume.name)));
        }
    }
    Ok(volume)
}

/// No claim has this volume outright.
fn is_free(objects: &Objects, volume: &Volume) -> bool {
    owner(volume).is_none() && !objects.claims.iter().any(|claim| volume_name(claim) == Some(&volume.name))
}

fn volume_name(claim: &Claim) -> Option<&str> {
    let name = claim.object.spec.as_ref()?.volume_name.as_deref()?;
    Some(name).filter(|name| !name.is_empty())
}

/// The claim in a volume's claimRef, as namespace and name.
fn owner(volume: &Volume) -> Option<String> {
    let reference = volume.object.spec.as_ref()?.claim_ref.as_ref()?;
    let name = reference.name.as_deref()?;
    Some(format!("{}/{}", shown(reference.namespace.as_deref().unwrap_or(super::DEFAULT)), shown(name)))
}

fn refers_to(volume: &Volume, claim: &Claim) -> bool {
    let reference = volume.object.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let Some(reference) = reference else {
        return false;
    };
    // A claim made anew under an old name is another claim; without both uids there is nothing to compare.
    let same_uid = match (&reference.uid, &claim.object.metadata.uid) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => true,
    };
    same_uid && owner(volume) == Some(claim.full_name())
}

fn misfit(claim: &Claim, volume: &Volume, what: &str, whys: &[String]) -> ManifestError {
    ManifestError::new(what, format!("the PersistentVolume {} does not fit it: {}", volume.name, whys.join(", ")))
        .at(claim.places.value("spec"))
        .hint("make claim and volume agree")
}

/// Why a claim could not have this volume; empty if it could.
fn misfits(volume: &Volume, claim: &Claim) -> Result<Vec<String>, ManifestError> {
    let no_volume = PersistentVolumeSpec::default();
    let no_claim = PersistentVolumeClaimSpec::default();
    let offer = volume.object.spec.as_ref().unwrap_or(&no_volume);
    let wish = claim.object.spec.as_ref().unwrap_or(&no_claim);
    let mut whys = Vec::new();
    let class = |class: &Option<String>| shown(class.as_deref().unwrap_or_default());
    let (offered, wished) = (class(&offer.storage_class_name), class(&wish.storage_class_name));
    if offered != wished {
        whys.push(format!("its storageClassName is `{offered}`, not `{wished}`"));
    }
    let modes = |modes: &Option<Vec<String>>| modes.clone().unwrap_or_default();
    let offered = modes(&offer.access_modes);
    for mode in modes(&wish.access_modes).iter().filter(|mode| !offered.contains(mode)) {
        whys.push(format!("it has no access mode {}", shown(mode)));
    }
    let mode = |mode: &Option<String>| shown(mode.as_deref().unwrap_or("Filesystem"));
    let (offered, wished) = (mode(&offer.volume_mode), mode(&wish.volume_mode));
    if offered != wished {
        whys.push(format!("its volumeMode is {offered}, not {wished}"));
    }
    if let Some(selector) = &wish.selector {
        let labels = volume.object.metadata.labels.as_ref();
        for (key, value) in selector.match_labels.iter().flatten() {
            if labels.and_then(|labels| labels.get(key)) != Some(value) {
                whys.push(format!("it lacks the label {}: {}", shown(key), shown(value)));
            }
        }
        if selector.match_expressions.as_ref().is_some_and(|all| !all.is_empty()) {
            whys.push("matchExpressions of a selector are not read here".to_owned());
        }
    }
    whys.extend(too_small(volume, claim)?);
    Ok(whys)
}

fn too_small(volume: &Volume, claim: &Claim) -> Result<Option<String>, ManifestError> {
    let resources = claim.object.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let request = resources.and_then(|resources| resources.requests.as_ref()?.get("storage"));
    let Some(request) = request else {
        return Ok(None);
    };
    let wished = bytes(request).ok_or_else(|| {
        not_a_size(
            &format!("PersistentVolumeClaim {}", claim.full_name()),
            claim,
            "spec.resources.requests.storage",
            request,
        )
    })?;
    Ok(match capacity(volume)? {
        Some(offered) if offered < wished => Some(format!("it is smaller than the {} asked for", shown(&request.0))),
        Some(_) => None,
        None => Some("it states no capacity".to_owned()),
    })
}

/// What a volume says its size is, in bytes.
pub(super) fn capacity(volume: &Volume) -> Result<Option<u64>, ManifestError> {
    let spec = volume.object.spec.as_ref();
    let Some(quantity) = spec.and_then(|spec| spec.capacity.as_ref()?.get("storage")) else {
        return Ok(None);
    };
    bytes(quantity).map(Some).ok_or_else(|| {
        not_a_size(&format!("PersistentVolume {}", volume.name), volume, "spec.capacity.storage", quantity)
    })
}

fn not_a_size<T>(what: &str, found: &Found<T>, path: &str, quantity: &Quantity) -> ManifestError {
    ManifestError::new(format!("{what}: {path}"), format!("`{}` is no size", shown(&quantity.0)))
        .at(found.places.value(path))
        .hint("write a number with a unit, such as 500Mi or 10Gi")
}

/// A Kubernetes quantity in whole bytes, rounded up.
fn bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0f64.powi(2),
        "Gi" => 1024.0f64.powi(3),
        "Ti" => 1024.0f64.powi(4),
        "Pi" => 1024.0f64.powi(5),
        "Ei" => 1024.0f64.powi(6),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            10f64.powi(digits.parse::<i8>().ok()?.into())
        }
    };
    // Exact below 8 PiB, and what is compared was computed alike.
    let bytes = (number.parse::<f64>().ok()? * factor).ceil();
    (bytes <= u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, wanted) in [
            ("5Gi", Some(5 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("100M", Some(100_000_000)),
            ("1000m", Some(1)),
            ("1m", Some(1)),
            ("1e3", Some(1000)),
            ("12E", Some(12_000_000_000_000_000_000)),
            ("1E2", Some(100)),
            ("7", Some(7)),
            ("", None),
            ("Gi", None),
            ("-5Gi", None),
            ("5GB", None),
            ("5 Gi", None),
            ("1e999", None),
            ("inf", None),
            ("NaN", None),
            ("20E", None),
        ] {
            assert_eq!(bytes(&Quantity(text.to_owned())), wanted, "{text}");
        }
    }
}
