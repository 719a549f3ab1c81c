"""Thunderbird, without its window: finds the calendar, keeps a meeting in it, moves and deletes it, and sees
what another program put there. It is led by Marionette, its remote control, over which it runs JavaScript
of its own. Arguments: the program, the bare URL, the user, the attendee, and the path of a file that appears
when the other program is done. Says "all is well" and exits 0, or fails an assertion.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import time

program, url, user, attendee, other = sys.argv[1:]
PATIENCE = 50
home = os.environ["HOME"]

# Nothing but loopback is within reach: everything else goes by a proxy that is not there.
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
settings = {
    "marionette.port": port,
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.update.disabledForTesting": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.spotlight.firstRunDone": True,
    "mail.shell.checkDefaultClient": False,
    "mail.rights.version": 1,
    "mailnews.start_page.enabled": False,
}
profile = os.path.join(home, "profile")
os.mkdir(profile)
with open(os.path.join(profile, "user.js"), "w") as file:
    for name, value in settings.items():
        file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")


def until(is_so, what):
    end = time.monotonic() + PATIENCE
    while not (found := is_so()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


class Marionette:
    """Messages with their lengths before them: [0, number, command, arguments], [1, number, error, result]."""

    def __init__(self):
        self.stream = until(self.connect, "Thunderbird does not listen").makefile("rwb")
        self.read()

    def connect(self):
        try:
            connection = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return None
        connection.settimeout(PATIENCE)
        return connection

    def read(self):
        length = b""
        while (octet := self.stream.read(1)) != b":":
            assert octet, "Thunderbird has ended"
            length += octet
        return json.loads(self.stream.read(int(length)))

    def ask(self, command, **arguments):
        message = json.dumps([0, 1, command, arguments]).encode()
        self.stream.write(b"%d:%s" % (len(message), message))
        self.stream.flush()
        _, _, error, result = self.read()
        assert error is None, error
        return result

    def run(self, script, *arguments):
        """The result of this function body, which may await."""
        whole = f"""
            const done = arguments[arguments.length - 1];
            const {{ cal }} = ChromeUtils.importESModule("resource:///modules/calendar/calUtils.sys.mjs");
            const {{ CalEvent }} = ChromeUtils.importESModule("resource:///modules/CalEvent.sys.mjs");
            (async (...given) => {{ {script} }})(...arguments)
                .then(value => done({{ value }}), error => done({{ error: `${{error}} ${{error?.stack}}` }}));
        """
        result = self.ask("WebDriver:ExecuteAsyncScript", script=whole, args=arguments)["value"]
        assert result is not None and "error" not in result, result
        return result.get("value")


SETUP = """
    const [url, user, password] = given;
    const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
    login.init(url, null, "postbridge", user, password, "", "");
    await Services.logins.addLoginAsync(login);
    const found = await cal.provider.detection.detect(user, password, url + "/dav/", false, [], {});
    const calendars = [...found.values()].flat();
    calendars[0].setProperty("cache.enabled", true);
    cal.manager.registerCalendar(calendars[0]);
    return calendars.map(calendar => [calendar.name, calendar.readOnly, calendar.id]);
"""
# What follows knows the calendar by its id.
MINE = "const mine = cal.manager.getCalendarById(given[0]);"
REFRESH = MINE + """
    await new Promise(resolve => {
        const observer = { QueryInterface: ChromeUtils.generateQI(["calIObserver"]) };
        for (const name of ["StartBatch", "EndBatch", "AddItem", "ModifyItem", "DeleteItem", "Error",
                            "PropertyChanged", "PropertyDeleting"])
            observer["on" + name] = () => {};
        observer.onLoad = () => { mine.removeObserver(observer); resolve(); };
        mine.addObserver(observer);
        mine.refresh();
    });
"""
ITEMS = MINE + """
    const items = await mine.getItemsAsArray(Ci.calICalendar.ITEM_FILTER_ALL_ITEMS, 0, null, null);
    return Object.fromEntries(items.map(item => [item.id, item.startDate.getInTimezone(cal.dtz.UTC).hour]));
"""
ADD = MINE + "await mine.addItem(new CalEvent(given[1]));"
MOVE = MINE + """
    const item = await mine.getItem(given[1]);
    const moved = item.clone();
    moved.startDate = cal.createDateTime("20270111T110000Z");
    moved.endDate = cal.createDateTime("20270111T120000Z");
    await mine.modifyItem(moved, item);
"""
DELETE = MINE + "await mine.deleteItem(await mine.getItem(given[1]));"
EVENT = f"""BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
UID:thunderbird
DTSTAMP:20261128T080000Z
DTSTART:20270111T090000Z
DTEND:20270111T100000Z
SUMMARY:Event
ORGANIZER:mailto:{user}
ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION;ROLE=REQ-PARTICIPANT:mailto:{attendee}
END:VEVENT
END:VCALENDAR
"""

thunderbird = subprocess.Popen(
    [program, "--headless", "--profile", profile, "--marionette", "--remote-allow-system-access"],
    # PR_SET_PDEATHSIG, SIGKILL: it does not outlive this script.
    preexec_fn=lambda: ctypes.CDLL(None).prctl(1, 9),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
try:
    client = Marionette()
    # A window that opens is not closed for it; whatever waits for that window then waits too long.
    client.ask("WebDriver:NewSession", capabilities={"alwaysMatch": {"unhandledPromptBehavior": "ignore"}})
    client.ask("WebDriver:SetTimeouts", script=PATIENCE * 1000)
    client.ask("Marionette:SetContext", value="chrome")
    ready = "return document.readyState == 'complete' && !!document.getElementById('tabmail')?.currentTabInfo"
    until(lambda: client.ask("WebDriver:ExecuteScript", script=ready, args=[])["value"], "its window")

    ((name, read_only, calendar),) = client.run(SETUP, url, user, os.environ["CALDAV_PASSWORD"])
    assert (name, read_only) == ("Calendar", False), (name, read_only)
    client.run(REFRESH, calendar)
    assert client.run(ITEMS, calendar) == {}
    asked = MINE + "return mine.getProperty('capabilities.autoschedule.supported');"
    assert client.run(asked, calendar) is True, "it would mail the attendees itself"
    # It has found its principal, and who the organizer is.
    asked = MINE + "return mine.getProperty('organizerId');"
    assert client.run(asked, calendar) == f"mailto:{user}", client.run(asked, calendar)

    client.run(ADD, calendar, EVENT.replace("\n", "\r\n"))
    assert client.run(ITEMS, calendar) == {"thunderbird": 9}
    client.run(MOVE, calendar, "thunderbird")
    assert client.run(ITEMS, calendar) == {"thunderbird": 11}

    # What another program puts there, at ten in Berlin.
    until(lambda: os.path.exists(other), "the other program")
    client.run(REFRESH, calendar)
    assert client.run(ITEMS, calendar) == {"thunderbird": 11, "other": 9}, client.run(ITEMS, calendar)

    client.run(DELETE, calendar, "thunderbird")
    client.run(REFRESH, calendar)
    assert client.run(ITEMS, calendar) == {"other": 9}
    print("all is well")
finally:
    thunderbird.kill()
    thunderbird.wait()
