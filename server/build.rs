//! `sqlx::migrate!` embeds a folder, and the compiler does not notice a file that is new in it.

fn main() {
    println!("cargo:rerun-if-changed=src/storage/migrations");
}
