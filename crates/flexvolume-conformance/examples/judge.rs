//! temporary
#![allow(clippy::print_stdout, clippy::unwrap_used)]
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut job = flexvolume_conformance::Job::new(std::path::absolute(&args[1]).unwrap());
    if let Some(file) = args.get(2) {
        job.volume = flexvolume_conformance::Described::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    }
    job.may_destroy = true;
    if args.iter().any(|a| a == "flexvol") {
        job.level = flexvolume_conformance::Level::Flexvol;
    }
    job.only = args.iter().filter_map(|a| a.strip_prefix("only=").map(str::to_owned)).collect();
    job.limit = std::time::Duration::from_secs(10);
    let report = flexvolume_conformance::check(&job, &mut |f| println!("{f}")).unwrap();
    println!("{report}");
    for t in &report.times {
        println!("{t:?}");
    }
}
