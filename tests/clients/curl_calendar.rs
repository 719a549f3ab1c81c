//! curl, as scripts use it: an object is put, read and deleted, with preconditions, by both listeners.

use std::path::Path;

use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use crate::{CALENDAR, Scene, event, invited};

/// What curl is told beside the URL, and what it gives back: the status, and all that it said.
async fn curl(
    program: &Path,
    scene: &Scene,
    url: &str,
    arguments: &[&str],
    body: &str,
) -> (u16, String) {
    let secret = scene.file("curlrc");
    if !secret.exists() {
        private_file(&secret, &format!("user = \"{USER}:{}\"\n", scene.password()));
    }
    let mut command = bare(program, scene.home.path());
    command.args(["--silent", "--show-error", "--include", "--noproxy", "*", "--url", url]);
    command.args(["--write-out", "\nstatus %{http_code}"]).args(arguments);
    command.arg("--cacert").arg(scene.ca()).arg("--config").arg(secret);
    let output = run(&mut command, body.as_bytes()).await.succeeded().output;
    let (said, status) = output.rsplit_once("\nstatus ").unwrap();
    (status.parse().unwrap(), said.to_owned())
}

/// What stands behind `ETag:`.
fn etag(said: &str) -> String {
    let mut lines = said.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(name, _)| name.eq_ignore_ascii_case("etag")).unwrap().1.trim().to_owned()
}

const PUT: [&str; 4] =
    ["--upload-file", "-", "--header", "Content-Type: text/calendar; charset=utf-8"];

#[tokio::test(flavor = "multi_thread")]
async fn curl_puts_reads_and_deletes_on_conditions_by_both_listeners() {
    let Some(program) = find("curl") else { return };
    let scene = Scene::set().await;
    let mut told = Vec::new();
    for (name, base) in [("clear", scene.bridge.calendar_url()), ("tls", scene.tls_url())] {
        let url = format!("{base}{CALENDAR}{name}.ics");
        let ask = async |arguments: &[&str], body: &str| {
            curl(&program, &scene, &url, arguments, body).await
        };
        let put = async |condition: &str, body: &str| {
            ask(&[&PUT[..], &["--header", condition]].concat(), body).await
        };
        let object = event(name, 10, &invited());
        let (status, said) = put("If-None-Match: *", &object).await;
        assert_eq!(status, 201, "{said}");
        let first = etag(&said);
        let (status, said) = put("If-None-Match: *", &object).await;
        assert_eq!(status, 412, "{said}");
        let (status, said) = ask(&[], "").await;
        assert_eq!((status, etag(&said)), (200, first.clone()), "{said}");
        assert!(said.ends_with(&object), "{said}");

        let moved = event(name, 12, &invited());
        let (status, said) = put(&format!("If-Match: {first}"), &moved).await;
        assert_eq!(status, 204, "{said}");
        assert_ne!(etag(&said), first);
        let stale = put(&format!("If-Match: {first}"), &event(name, 14, &invited())).await;
        assert_eq!(stale.0, 412, "{}", stale.1);
        let condition = format!("If-Match: {first}");
        let stale = ask(&["--request", "DELETE", "--header", &condition], "").await;
        assert_eq!(stale.0, 412, "{}", stale.1);
        assert!(ask(&[], "").await.1.ends_with(&moved));

        let (status, said) = ask(&["--request", "DELETE"], "").await;
        assert_eq!(status, 204, "{said}");
        assert_eq!(ask(&[], "").await.0, 404);
        told.extend(
            [("request", "09"), ("update", "11"), ("cancel", "11")]
                .map(|(kind, hour)| format!("{kind} {COLLEAGUE}: 2027-01-11T{hour}:00")),
        );
    }
    assert_eq!(scene.told().await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_that_does_not_know_our_ca_does_not_talk_to_us() {
    let Some(program) = find("curl") else { return };
    let scene = Scene::set().await;
    let mut command = bare(&program, scene.home.path());
    command.args(["--silent", "--show-error", "--noproxy", "*", "--url", &scene.tls_url()]);
    let ran = run(&mut command, b"").await;
    // CURLE_PEER_FAILED_VERIFICATION
    assert_eq!(ran.status, Some(60), "{}", ran.output);
}
