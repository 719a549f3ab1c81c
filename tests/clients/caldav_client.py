"""Python's caldav library: finds the calendar, saves a meeting, moves it, looks for it in each way that
CalDAV has, and deletes it. Arguments: the bare URL, the user, the attendee. Says "all is well" and
exits 0, or fails an assertion.
"""

import os
import sys
from datetime import datetime, timedelta, timezone

from caldav import DAVClient
from caldav.lib.error import NotFoundError

url, user, attendee = sys.argv[1:]
UID = "library@contoso.example"


def at(day, hour=0):
    return datetime(2027, 1, day, hour, tzinfo=timezone.utc)


def starts(found):
    return sorted(one.get_icalendar_component()["DTSTART"].dt.astimezone(timezone.utc) for one in found)


def names(found):
    # The library itself asks for @ where the server says %40, which is the same.
    return [str(one.url.canonical()) for one in found]


client = DAVClient(url=url, username=user, password=os.environ["CALDAV_PASSWORD"], require_tls=False)
assert "calendar-access" in client.check_dav_support()
assert client.check_scheduling_support()
principal = client.principal()
assert f"mailto:{user}" in principal.calendar_user_address_set()
(calendar,) = principal.get_calendars()
assert calendar.get_display_name() == "Calendar", calendar.get_display_name()
assert calendar.get_supported_components() == ["VEVENT"], calendar.get_supported_components()
nothing = calendar.get_objects_by_sync_token(load_objects=True, disable_fallback=True)
assert list(nothing) == [], list(nothing)

# An event with an attendee. The library names the object after its UID.
event = calendar.add_event(
    f"""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//caldav library//EN
BEGIN:VEVENT
UID:{UID}
DTSTAMP:20261128T000000Z
DTSTART:20270111T090000Z
DTEND:20270111T100000Z
RRULE:FREQ=DAILY;COUNT=3
SUMMARY:Interview
ORGANIZER:mailto:{user}
ATTENDEE;RSVP=TRUE:mailto:{attendee}
END:VEVENT
END:VCALENDAR
"""
)
assert names(calendar.get_events()) == names([event]), (calendar.get_events(), event)

# What has come since the token is the event, and its data with it.
news = calendar.get_objects_by_sync_token(nothing.sync_token, load_objects=True, disable_fallback=True)
assert starts(news) == [at(11, 9)], starts(news)
assert names([calendar.get_event_by_uid(UID)]) == names([event])

# It is moved by three hours, on the condition that nobody else has changed it.
event.load()
with event.edit_icalendar_component() as component:
    component["DTSTART"].dt += timedelta(hours=3)
    component["DTEND"].dt += timedelta(hours=3)
event.save()

later = calendar.get_objects_by_sync_token(news.sync_token, load_objects=True, disable_fallback=True)
assert starts(later) == [at(11, 12)], starts(later)
(loaded,) = calendar.multiget([event.url])
assert starts([loaded]) == [at(11, 12)]
assert not list(calendar.get_objects_by_sync_token(later.sync_token, disable_fallback=True))

# By time: as the series that touches the range, and as its occurrences within it: those that the
# library makes of it, and those that the server does.
(series,) = calendar.search(start=at(12), end=at(20), event=True)
assert "RRULE" in series.get_icalendar_component(), series.data
found = calendar.search(start=at(12), end=at(20), event=True, expand=True)
assert starts(found) == [at(12, 12), at(13, 12)], found
# The library asks the server for a day more on either side.
found = calendar.search(start=at(13), end=at(20), event=True, server_expand=True)
assert starts(found) == [at(12, 12), at(13, 12)], found
assert not any("RRULE" in one.data for one in found), found
assert calendar.search(start=at(14), end=at(20), event=True) == []
assert len(calendar.search(event=True, summary="view")) == 1
assert calendar.search(event=True, summary="Nobody") == []

# When it is busy, which is a REPORT of its own.
busy = calendar.freebusy_request(at(12), at(13)).icalendar_instance.walk("VFREEBUSY")[0]["FREEBUSY"]
begin, end = busy.dt
busy = [(begin, end if isinstance(end, datetime) else begin + end)]
assert busy == [(at(12, 12), at(12, 13))], busy

# No second object with the UID, and nothing of another kind.
for refused in (
    lambda: calendar.add_event(event.data, no_overwrite=True),
    lambda: calendar.add_todo(summary="Bring a pen"),
):
    try:
        refused()
    except Exception as error:
        print("refused:", type(error).__name__, error, file=sys.stderr)
    else:
        raise AssertionError("taken")

event.delete()
gone = calendar.get_objects_by_sync_token(later.sync_token, load_objects=True, disable_fallback=True)
assert names(gone) == names([event]), list(gone)
assert calendar.get_events() == []
try:
    calendar.get_event_by_uid(UID)
except NotFoundError:
    print("all is well")
