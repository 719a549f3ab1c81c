"""Evolution's own calendar backend (evolution-data-server), as Evolution uses it: finds the calendar, keeps
a meeting in it, moves and deletes it, and sees what another program put there. Runs in a session bus of its
own. Arguments: host, port, user, attendee, and the path of a file that appears when the other program is
done. Says "all is well" and exits 0, or fails an assertion.
"""

import os
import sys
import threading
import time

import gi

gi.require_version("EDataServer", "1.2")
gi.require_version("ECal", "2.0")
gi.require_version("ICalGLib", "3.0")
from gi.repository import ECal, EDataServer, GLib, ICalGLib

host, port, user, attendee, other = sys.argv[1:]
PATIENCE = 30

credentials = EDataServer.NamedParameters.new()
credentials.set(EDataServer.SOURCE_CREDENTIAL_USERNAME, user)
credentials.set(EDataServer.SOURCE_CREDENTIAL_PASSWORD, os.environ["CALDAV_PASSWORD"])


def until(is_so, what):
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


# Signals come by the main loop.
threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
registry = EDataServer.SourceRegistry.new_sync(None)

source = EDataServer.Source.new_with_uid("bridge", None)
source.set_display_name("Bridge")
source.get_extension(EDataServer.SOURCE_EXTENSION_CALENDAR).set_backend_name("caldav")
webdav = source.get_extension(EDataServer.SOURCE_EXTENSION_WEBDAV_BACKEND)
webdav.set_resource_path("/dav/")
# "Server handles meeting invitations"
webdav.set_calendar_auto_schedule(True)
login = source.get_extension(EDataServer.SOURCE_EXTENSION_AUTHENTICATION)
login.set_host(host)
login.set_port(int(port))
login.set_user(user)
login.set_method("plain/password")
source.get_extension(EDataServer.SOURCE_EXTENSION_SECURITY).set_secure(False)

# "Find Calendars"
found = EDataServer.webdav_discover_sources_sync(
    source, None, EDataServer.WebDAVDiscoverSupports.EVENTS, credentials, None
)
(calendar,) = found.out_discovered_sources
print("found", calendar.href, calendar.display_name, found.out_calendar_user_addresses, file=sys.stderr)
assert calendar.display_name == "Calendar"
assert found.out_calendar_user_addresses == [user]

path = "/" + calendar.href.split("/", 3)[3]
webdav.set_resource_path(path)
registry.commit_source_sync(source, None)
source = registry.ref_source("bridge")
source.connect("credentials-required", lambda source, *_: source.invoke_authenticate_sync(credentials, None))
client = ECal.Client.connect_sync(source, ECal.ClientSourceType.EVENTS, PATIENCE, None)
assert not client.is_readonly()


def events():
    _, found = client.get_object_list_sync("#t", None)
    return {one.get_uid(): one for one in found}


def event(uid, hour):
    return ICalGLib.Component.new_from_string(
        f"""BEGIN:VEVENT
UID:{uid}
DTSTAMP:20261128T080000Z
DTSTART:20270111T{hour:02}0000Z
DTEND:20270111T{hour + 1:02}0000Z
SUMMARY:Event {uid}
ORGANIZER:mailto:{user}
ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{attendee}
END:VEVENT
"""
    )


flags = ECal.OperationFlags.NONE
_, uid = client.create_object_sync(event("evolution", 9), flags, None)
assert list(events()) == ["evolution"]
client.modify_object_sync(event("evolution", 11), ECal.ObjModType.ALL, flags, None)
client.refresh_sync(None)
assert events()["evolution"].get_dtstart().get_hour() == 11

# What another program puts there.
print("another program's turn", flush=True)
until(lambda: os.path.exists(other), "the other program")
client.refresh_sync(None)
until(lambda: "other" in events(), events())

client.remove_object_sync(uid, None, ECal.ObjModType.ALL, flags, None)
client.refresh_sync(None)
assert list(events()) == ["other"], events()
print("all is well")
