"""Microsoft's own Graph SDK against the sandbox: who am I, and a mail with an attachment.

Usage: msgraph_client.py BASE-URL ACCESS-TOKEN RECIPIENT
Prints the signed-in user's address. Exits with a traceback if anything is refused.
"""

import asyncio
import sys
from urllib.parse import urlsplit

from kiota_abstractions.authentication import AccessTokenProvider, AllowedHostsValidator
from kiota_abstractions.authentication import BaseBearerTokenAuthenticationProvider
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.email_address import EmailAddress
from msgraph.generated.models.file_attachment import FileAttachment
from msgraph.generated.models.importance import Importance
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.message import Message
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.recipient import Recipient
from msgraph.generated.users.item.send_mail.send_mail_post_request_body import (
    SendMailPostRequestBody,
)


class StaticToken(AccessTokenProvider):
    """A token that was signed in for elsewhere."""

    def __init__(self, token: str, host: str) -> None:
        self.token = token
        self.hosts = AllowedHostsValidator([host])

    async def get_authorization_token(self, uri, additional_authentication_context=None):
        return self.token

    def get_allowed_hosts_validator(self):
        return self.hosts


def mail(subject: str, *addresses: str) -> SendMailPostRequestBody:
    recipients = [Recipient(email_address=EmailAddress(address=a, name=None)) for a in addresses]
    return SendMailPostRequestBody(
        message=Message(
            subject=subject,
            importance=Importance.High,
            body=ItemBody(content_type=BodyType.Html, content="<p>See the report.</p>"),
            to_recipients=recipients,
            attachments=[
                FileAttachment(
                    odata_type="#microsoft.graph.fileAttachment",
                    name="report.csv",
                    content_type="text/csv",
                    content_bytes=b"1;2\r\n",
                )
            ],
        ),
        save_to_sent_items=True,
    )


async def main(base_url: str, token: str, recipient: str) -> None:
    provider = StaticToken(token, urlsplit(base_url).hostname)
    adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(provider))
    adapter.base_url = f"{base_url}/v1.0"
    graph = GraphServiceClient(request_adapter=adapter)

    me = await graph.me.get()
    await graph.me.send_mail.post(mail("Report", recipient))

    # A refusal is read by the SDK as the error it is.
    try:
        await graph.me.send_mail.post(mail("Nobody"))
    except ODataError as error:
        assert error.response_status_code == 400, error
        assert error.error.code == "ErrorInvalidRecipients", error
        assert error.error.inner_error.request_id, error
    else:
        raise AssertionError("a mail without recipients was taken")
    print(me.mail)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
