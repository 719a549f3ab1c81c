"""Microsoft's own Graph SDK against the sandbox's calendar: a series is made, changed and cancelled.

Usage: msgraph_calendar_client.py BASE-URL ACCESS-TOKEN ATTENDEE
Exits with a traceback if anything is refused or not as the SDK's models say.
"""

import asyncio
import datetime
import sys
from urllib.parse import urlsplit

from kiota_abstractions.authentication import AccessTokenProvider, AllowedHostsValidator
from kiota_abstractions.authentication import BaseBearerTokenAuthenticationProvider
from kiota_abstractions.base_request_configuration import RequestConfiguration
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.attendee import Attendee
from msgraph.generated.models.attendee_type import AttendeeType
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
from msgraph.generated.models.day_of_week import DayOfWeek
from msgraph.generated.models.email_address import EmailAddress
from msgraph.generated.models.event import Event
from msgraph.generated.models.event_type import EventType
from msgraph.generated.models.file_attachment import FileAttachment
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.patterned_recurrence import PatternedRecurrence
from msgraph.generated.models.recurrence_pattern import RecurrencePattern
from msgraph.generated.models.recurrence_pattern_type import RecurrencePatternType
from msgraph.generated.models.recurrence_range import RecurrenceRange
from msgraph.generated.models.recurrence_range_type import RecurrenceRangeType
from msgraph.generated.models.single_value_legacy_extended_property import (
    SingleValueLegacyExtendedProperty,
)
from msgraph.generated.users.item.events.item.cancel.cancel_post_request_body import (
    CancelPostRequestBody,
)
from msgraph.generated.users.item.events.events_request_builder import EventsRequestBuilder
from msgraph.generated.users.item.events.item.instances.instances_request_builder import (
    InstancesRequestBuilder,
)

UID = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name BridgeUid"


class StaticToken(AccessTokenProvider):
    """A token that was signed in for elsewhere."""

    def __init__(self, token: str, host: str) -> None:
        self.token = token
        self.hosts = AllowedHostsValidator([host])

    async def get_authorization_token(self, uri, additional_authentication_context=None):
        return self.token

    def get_allowed_hosts_validator(self):
        return self.hosts


def at(time: str) -> DateTimeTimeZone:
    return DateTimeTimeZone(date_time=time, time_zone="W. Europe Standard Time")


def weekly(attendee: str) -> Event:
    return Event(
        subject="Interview",
        body=ItemBody(content_type=BodyType.Html, content="<p>Bring a pen.</p>"),
        start=at("2026-12-01T09:00:00"),
        end=at("2026-12-01T10:00:00"),
        attendees=[
            Attendee(
                email_address=EmailAddress(address=attendee, name="Megan"),
                type=AttendeeType.Required,
            )
        ],
        recurrence=PatternedRecurrence(
            pattern=RecurrencePattern(
                type=RecurrencePatternType.Weekly,
                interval=1,
                days_of_week=[DayOfWeek.Tuesday],
                first_day_of_week=DayOfWeek.Monday,
            ),
            range=RecurrenceRange(
                type=RecurrenceRangeType.Numbered,
                start_date=datetime.date(2026, 12, 1),
                number_of_occurrences=3,
            ),
        ),
        transaction_id="sdk-1",
        single_value_extended_properties=[
            SingleValueLegacyExtendedProperty(id=UID, value="1@client.example")
        ],
    )


async def main(base_url: str, token: str, attendee: str) -> None:
    provider = StaticToken(token, urlsplit(base_url).hostname)
    adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(provider))
    adapter.base_url = f"{base_url}/v1.0"
    graph = GraphServiceClient(request_adapter=adapter)

    created = await graph.me.events.post(weekly(attendee))
    assert created.type == EventType.SeriesMaster, created.type
    assert created.i_cal_u_id and created.change_key and created.is_organizer, created
    master = graph.me.events.by_event_id(created.id)

    updated = await master.patch(Event(subject="Second interview"))
    assert updated.subject == "Second interview" and updated.change_key != created.change_key

    file = FileAttachment(
        odata_type="#microsoft.graph.fileAttachment",
        name="cv.txt",
        content_type="text/plain",
        content_bytes=b"hi",
    )
    attached = await master.attachments.post(file)
    assert attached.id and attached.size == 2, attached

    query = EventsRequestBuilder.EventsRequestBuilderGetQueryParameters(
        filter="singleValueExtendedProperties/Any(ep: ep/id eq "
        f"'{UID}' and ep/value eq '1@client.example')",
        expand=[f"singleValueExtendedProperties($filter=id eq '{UID}')"],
    )
    found = await graph.me.events.get(RequestConfiguration(query_parameters=query))
    assert [event.id for event in found.value] == [created.id], found
    assert found.value[0].single_value_extended_properties[0].value == "1@client.example"

    query = InstancesRequestBuilder.InstancesRequestBuilderGetQueryParameters(
        start_date_time="2026-12-01T00:00:00Z", end_date_time="2027-01-01T00:00:00Z"
    )
    instances = (await master.instances.get(RequestConfiguration(query_parameters=query))).value
    assert len(instances) == 3, instances
    one = graph.me.events.by_event_id(instances[1].id)
    moved = await one.patch(Event(start=at("2026-12-08T11:00:00"), end=at("2026-12-08T12:00:00")))
    assert moved.type == EventType.Exception, moved.type
    await graph.me.events.by_event_id(instances[2].id).delete()

    # A refusal is read by the SDK as the error it is.
    try:
        await master.patch(Event(start=DateTimeTimeZone(date_time="x", time_zone="UTC")))
    except ODataError as error:
        assert error.response_status_code == 400, error
        assert error.error.code == "ErrorPropertyValidationFailure", error
    else:
        raise AssertionError("a start that is no time was taken")

    await master.cancel.post(CancelPostRequestBody(comment="Sorry"))
    try:
        await master.get()
    except ODataError as error:
        assert error.error.code == "ErrorItemNotFound", error
    else:
        raise AssertionError("a cancelled event is still there")


asyncio.run(main(*sys.argv[1:]))
