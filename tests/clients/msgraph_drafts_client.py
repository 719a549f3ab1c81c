"""Microsoft's own Graph SDK against the sandbox's drafts: made, tagged, filled, found and sent.

Usage: msgraph_drafts_client.py BASE-URL ACCESS-TOKEN RECIPIENT
Exits with a traceback if anything is refused or not as the SDK's models say.

The pieces of the upload go by httpx, on which the SDK is built: the SDK's own upload task repeats its
last piece when the session is over already (msgraph-core 1.5).
"""

import asyncio
import sys
from urllib.parse import urlsplit

import httpx
from kiota_abstractions.authentication import BaseBearerTokenAuthenticationProvider
from kiota_abstractions.base_request_configuration import RequestConfiguration
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.attachment_item import AttachmentItem
from msgraph.generated.models.attachment_type import AttachmentType
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.email_address import EmailAddress
from msgraph.generated.models.file_attachment import FileAttachment
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.mail_folder import MailFolder
from msgraph.generated.models.message import Message
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.recipient import Recipient
from msgraph.generated.models.single_value_legacy_extended_property import (
    SingleValueLegacyExtendedProperty,
)
from msgraph.generated.users.item.messages.item.attachments.create_upload_session import (
    create_upload_session_post_request_body,
)
from msgraph.generated.users.item.messages.item.message_item_request_builder import (
    MessageItemRequestBuilder,
)
from msgraph.generated.users.item.messages.messages_request_builder import MessagesRequestBuilder

from msgraph_client import StaticToken

TAG = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name BridgeTag"
FLAGS = "Integer 0x0E07"
SIZE = 4 << 20
PIECE = 1 << 20

UploadBody = create_upload_session_post_request_body.CreateUploadSessionPostRequestBody


def immutable(**options) -> RequestConfiguration:
    configuration = RequestConfiguration(**options)
    configuration.headers.add("Prefer", 'IdType="ImmutableId"')
    return configuration


def draft(recipient: str) -> Message:
    return Message(
        subject="Large",
        body=ItemBody(content_type=BodyType.Text, content="See the file."),
        to_recipients=[Recipient(email_address=EmailAddress(address=recipient))],
        single_value_extended_properties=[
            SingleValueLegacyExtendedProperty(id=TAG, value="0a1b2c")
        ],
    )


async def upload(graph: GraphServiceClient, message_id: str) -> None:
    attachments = graph.me.messages.by_message_id(message_id).attachments
    item = AttachmentItem(attachment_type=AttachmentType.File, name="big.bin", size=SIZE)
    session = await attachments.create_upload_session.post(UploadBody(attachment_item=item))
    assert session.next_expected_ranges == ["0-"], session
    assert session.expiration_date_time is not None, session
    async with httpx.AsyncClient(trust_env=False) as client:
        for first in range(0, SIZE, PIECE):
            content = bytes([first // PIECE]) * PIECE
            headers = {"Content-Range": f"bytes {first}-{first + PIECE - 1}/{SIZE}"}
            answer = await client.put(session.upload_url, content=content, headers=headers)
            assert answer.status_code == (201 if first + PIECE == SIZE else 200), answer
    found = await attachments.get()
    assert [(one.name, one.size) for one in found.value] == [("small.txt", 5), ("big.bin", SIZE)]


async def main(base_url: str, token: str, recipient: str) -> None:
    provider = StaticToken(token, urlsplit(base_url).hostname)
    adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(provider))
    adapter.base_url = f"{base_url}/v1.0"
    graph = GraphServiceClient(request_adapter=adapter)
    messages = graph.me.messages

    made = await messages.post(draft(recipient), request_configuration=immutable())
    assert made.is_draft and made.internet_message_id and made.change_key, made
    message = messages.by_message_id(made.id)
    small = FileAttachment(
        odata_type="#microsoft.graph.fileAttachment", name="small.txt", content_bytes=b"hello"
    )
    await message.attachments.post(small)
    await upload(graph, made.id)
    renamed = await message.patch(Message(subject="Larger"), request_configuration=immutable())
    assert (renamed.id, renamed.subject) == (made.id, "Larger"), renamed

    query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(
        filter=f"singleValueExtendedProperties/Any(ep: ep/id eq '{TAG}' and ep/value eq '0a1b2c')",
        select=["id", "isDraft"],
    )
    found = await messages.get(immutable(query_parameters=query))
    assert [one.id for one in found.value] == [made.id], found

    await message.send.post()
    query = MessageItemRequestBuilder.MessageItemRequestBuilderGetQueryParameters(
        expand=[f"singleValueExtendedProperties($filter=id eq '{FLAGS}')"],
    )
    sent = await message.get(immutable(query_parameters=query))
    # Submitted, no longer unsent, with an attachment.
    assert sent.single_value_extended_properties[0].value == str(0x1 | 0x4 | 0x10), sent
    try:
        await message.send.post()
    except ODataError as error:
        assert error.error.code == "ErrorItemNotFound", error
    else:
        raise AssertionError("a draft was sent twice")

    folder = MailFolder(display_name="Bridge", is_hidden=True)
    folder = await graph.me.mail_folders.post(folder)
    assert folder.is_hidden, folder
    doomed = await graph.me.mail_folders.by_mail_folder_id(folder.id).messages.post(
        draft(recipient)
    )
    await messages.by_message_id(doomed.id).delete()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
