//! Speed of the parts: `cargo bench`, or `cargo bench -- kernel` for some of them; `cargo bench -- --test` runs each once.

mod data;
mod files;
mod kernel;
mod names;

fn main() {
    divan::main();
}
