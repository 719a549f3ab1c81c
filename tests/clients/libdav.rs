//! libdav, the CalDAV client under pimsync, in Rust: by the listener in clear.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use libdav::CalDavClient;
use libdav::caldav::{
    FindCalendarHomeSet, FindCalendars, GetCalendarResources, GetSupportedComponents,
    ListCalendarResources,
};
use libdav::dav::{
    CheckSupport, Delete, GetEtag, GetProperty, ListResources, PutResource, SyncCollection,
    WebDavClient,
};
use libdav::names;
use libdav::sd::DiscoverableService;
use tower_service::Service;

use crate::common::http::basic;
use crate::common::{COLLEAGUE, USER};
use crate::{CALENDAR, Scene, event, invited};

/// hyper's client, which says each time who asks.
#[derive(Clone)]
struct LoggedIn {
    client: Client<HttpConnector, String>,
    authorization: HeaderValue,
}

impl Service<Request<String>> for LoggedIn {
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<String>) -> Self::Future {
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        Box::pin(self.client.call(request))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn libdav_finds_the_calendar_and_a_meeting_is_invited_moved_and_cancelled_once() {
    let scene = Scene::set().await;
    let base: Uri = scene.bridge.calendar_url().parse().unwrap();
    let client = LoggedIn {
        client: Client::builder(TokioExecutor::new()).build_http(),
        authorization: basic(USER, scene.password()).parse().unwrap(),
    };
    let mut webdav = WebDavClient::new(base.clone(), client);

    // From the name of the server to the calendar. What a domain's DNS would say is not asked.
    let (host, port) = (base.host().unwrap(), base.port_u16().unwrap());
    let found = webdav.find_context_path(DiscoverableService::CalDav, host, port).await.unwrap();
    let found = found.expect("a redirect from the well-known path");
    assert_eq!(found.path(), "/dav/");
    webdav.request(CheckSupport::caldav(&found)).await.unwrap();
    webdav.base_url = found;
    let caldav = CalDavClient::new(webdav);
    let principal = caldav.find_current_user_principal().await.unwrap().expect("a principal");
    let homes = caldav.request(FindCalendarHomeSet::new(principal.path())).await.unwrap();
    let homes: Vec<&str> = homes.home_sets.iter().map(Uri::path).collect();
    let [home] = homes.as_slice() else { panic!("{homes:?}") };
    let calendars = caldav.request(FindCalendars::new(home)).await.unwrap().calendars;
    let [calendar] = calendars.as_slice() else { panic!("{calendars:?}") };
    // It writes hrefs in a way of its own.
    let at = calendar.href.as_str();
    assert_eq!((at, calendar.supports_sync), (CALENDAR.replace("%40", "@").as_str(), true));
    let name = caldav.request(GetProperty::new(at, &names::DISPLAY_NAME)).await.unwrap();
    assert_eq!(name.value.as_deref(), Some("Calendar"));
    let components = caldav.request(GetSupportedComponents::new(at)).await.unwrap();
    assert_eq!(format!("{:?}", components.components), "[VEvent]");

    let path = format!("{at}meeting.ics");
    let sync = caldav.request(SyncCollection::new(at)).await.unwrap();
    assert_eq!((sync.changed.len(), sync.deleted.len()), (0, 0));
    let object = event("libdav", 10, &invited());
    let put = PutResource::new(&path).create(object.clone(), "text/calendar");
    let first = caldav.request(put.clone()).await.unwrap().etag.expect("an etag");
    assert!(caldav.request(put).await.is_err(), "it is there already");

    let listed = caldav.request(ListResources::new(at)).await.unwrap().resources;
    let listed: Vec<_> =
        listed.iter().map(|one| (one.href.as_str(), one.etag.as_deref())).collect();
    assert_eq!(listed, [(path.as_str(), Some(first.as_str()))]);
    let events = caldav.request(ListCalendarResources::new(at)).await.unwrap().resources;
    let events: Vec<&str> = events.iter().map(|one| one.href.as_str()).collect();
    assert_eq!(events, [path.as_str()]);
    let nowhere = format!("{at}nowhere.ics");
    let hrefs = [path.as_str(), &nowhere];
    let got = GetCalendarResources::new(at).with_hrefs(hrefs);
    let got = caldav.request(got).await.unwrap().resources;
    let [one, none] = got.as_slice() else { panic!("{got:?}") };
    let content = one.content.as_ref().unwrap();
    assert_eq!((&one.href, &content.data, &content.etag), (&path, &object, &first));
    assert_eq!((&none.href, none.content.as_ref().unwrap_err().as_u16()), (&nowhere, 404));
    let etag = caldav.request(GetEtag::new(&path)).await.unwrap().etag;
    assert_eq!(etag, first);

    let moved = event("libdav", 12, &invited());
    let put = PutResource::new(&path).update(moved, "text/calendar", &first);
    let second = caldav.request(put.clone()).await.unwrap().etag.expect("an etag");
    assert!(caldav.request(put).await.is_err(), "it is not that one any more");
    let changes = SyncCollection::new(at).with_sync_token(&sync.new_sync_token);
    let sync = caldav.request(changes).await.unwrap();
    let changed: Vec<_> =
        sync.changed.iter().map(|one| (one.href.as_str(), one.etag.as_deref())).collect();
    assert_eq!(changed, [(path.as_str(), Some(second.as_str()))]);
    assert!(sync.deleted.is_empty(), "{:?}", sync.deleted);

    assert!(caldav.request(Delete::new(&path).with_etag(first)).await.is_err());
    caldav.request(Delete::new(&path).with_etag(second)).await.unwrap();
    let changes = SyncCollection::new(at).with_sync_token(&sync.new_sync_token);
    let sync = caldav.request(changes).await.unwrap();
    assert_eq!((sync.changed.len(), sync.deleted), (0, vec![path]));

    let told = [("request", "09"), ("update", "11"), ("cancel", "11")];
    let told = told.map(|(kind, hour)| format!("{kind} {COLLEAGUE}: 2027-01-11T{hour}:00"));
    assert_eq!(scene.told().await, told);
    assert!(scene.objects().await.is_empty());
}
