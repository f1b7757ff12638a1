//! A small service to put meshup before: it answers a request with that request, so that one sees what filters did.
//!
//! `/flaky` fails with 503 twice and then answers. No HTTP library, no request bodies.
//!
//!     cargo run --package meshup-quickstart [ADDRESS]
//!
//! **Invariant:** every request head gets one answer.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

const FAILURES: usize = 2;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening on {}", listener.local_addr()?);
    for connection in listener.incoming() {
        let connection = connection?;
        // A client that goes away is nothing to report.
        thread::spawn(move || serve(&connection).ok());
    }
    Ok(())
}

fn serve(mut connection: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    while let Some(head) = read_head(&mut reader)? {
        let (status, body) = answer(&head);
        let length = body.len();
        write!(connection, "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{body}")?;
    }
    Ok(())
}

/// A request line and its header lines; `None` when the connection ends.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    while reader.read_line(&mut head)? > 0 {
        if head.ends_with("\r\n\r\n") {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn answer(head: &str) -> (&'static str, String) {
    static FLAKY: AtomicUsize = AtomicUsize::new(0);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let fails = path.starts_with("/flaky") && FLAKY.fetch_add(1, Ordering::Relaxed) % (FAILURES + 1) < FAILURES;
    if fails {
        println!("503 {path}");
        return ("503 Service Unavailable", "try again\n".into());
    }
    println!("200 {path}");
    ("200 OK", head.trim_end().replace("\r\n", "\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::{answer, read_head};

    #[test]
    fn requests_are_read_one_by_one() {
        let mut two = &b"GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n"[..];
        assert!(read_head(&mut two).unwrap().unwrap().starts_with("GET /a "));
        assert!(read_head(&mut two).unwrap().unwrap().starts_with("GET /b "));
        assert!(read_head(&mut two).unwrap().is_none());
    }

    #[test]
    fn flaky_fails_twice_and_then_answers() {
        let statuses = [(); 3].map(|()| answer("GET /flaky HTTP/1.1\r\n\r\n").0);
        assert_eq!(statuses, ["503 Service Unavailable", "503 Service Unavailable", "200 OK"]);
    }
}
