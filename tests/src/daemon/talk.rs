//! One exchange over a real socket, both ends in namespaces.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;

/// For every step, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `length` bytes over a new TCP connection and has them sent back.
///
/// # Errors
/// When `server` can't be bound, or the bytes don't come back whole.
pub fn tcp(client: &Namespace, server: &Namespace, address: &str, length: usize) -> Result<()> {
    let address: SocketAddr = format!("{address}:0").parse()?;
    let listener = server.run(|| TcpListener::bind(address))??;
    let target = listener.local_addr()?;
    let echo = server.spawn("echo", move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes)?;
        Ok(stream.write_all(&bytes)?)
    })?;
    let mut stream = client
        .run(|| TcpStream::connect_timeout(&target, PATIENCE))?
        .with_context(|| format!("no TCP connection to {target}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let sent = pattern(length);
    let (mut back, mut writer) = (vec![0; length], stream.try_clone()?);
    writer.write_all(&sent)?;
    stream
        .read_exact(&mut back)
        .with_context(|| format!("the {length} bytes did not come back from {target}"))?;
    ensure!(sent == back, "other bytes came back from {target}");
    match echo.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Sends a datagram of `length` bytes and has it sent back.
///
/// # Errors
/// When `server` can't be bound, or the datagram doesn't come back whole.
pub fn udp(client: &Namespace, server: &Namespace, address: &str, length: usize) -> Result<()> {
    let address: SocketAddr = format!("{address}:0").parse()?;
    let there = server.run(|| UdpSocket::bind(address))??;
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let here = client.run(|| UdpSocket::bind(any))??;
    let target = there.local_addr()?;
    for socket in [&here, &there] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    let (sent, mut buffer) = (pattern(length), vec![0; length + 1]);
    here.send_to(&sent, target)?;
    let (got, from) = there
        .recv_from(&mut buffer)
        .with_context(|| format!("no datagram came to {target}"))?;
    there.send_to(&buffer[..got], from)?;
    let (got, _) = here
        .recv_from(&mut buffer)
        .with_context(|| format!("no datagram came back from {target}"))?;
    ensure!(
        sent == buffer[..got],
        "another datagram came back from {target}"
    );
    Ok(())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}
