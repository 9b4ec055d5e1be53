//! The binary: everything is in the library.

fn main() -> std::process::ExitCode {
    xdp_user::cli::main()
}
