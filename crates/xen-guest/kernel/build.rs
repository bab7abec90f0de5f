//! Links the kernel as an image for Xen's domain builder, without anything of the host's C library.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest.ld");
    println!("cargo::rerun-if-changed={script}");
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,--gc-sections"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{script}");
}
