"""Sends five mails with smtplib: STARTTLS and implicit TLS, PLAIN and LOGIN, null sender, RSET,
SMTPUTF8, DSN. Arguments: the STARTTLS port, the implicit port, the user, the CA file."""

import os
import smtplib
import ssl
import sys

starttls, implicit, user, ca = sys.argv[1:]
password = os.environ["SMTP_PASSWORD"]
context = ssl.create_default_context(cafile=ca)
context.verify_flags |= ssl.VERIFY_X509_STRICT


def mail(subject):
    return f"From: {user}\r\nTo: alex@contoso.example\r\nSubject: {subject}\r\n\r\n.x\r\n"


with smtplib.SMTP("localhost", int(starttls)) as client:
    client.starttls(context=context)
    client.ehlo()
    client.user, client.password = user, password
    client.auth("LOGIN", client.auth_login)
    client.sendmail(user, ["alex@contoso.example"], mail("one"))
    client.sendmail("", ["alex@contoso.example"], mail("null sender"))
    client.mail(user)
    client.rset()
    options = ["SMTPUTF8", "BODY=8BITMIME", "RET=HDRS", "ENVID=abc"]
    client.sendmail(user, ["jürgen@contoso.example"], mail("utf8").encode(), options, ["NOTIFY=NEVER"])
    try:
        client.sendmail("eve@contoso.example", ["alex@contoso.example"], mail("spoofed"))
    except smtplib.SMTPSenderRefused as refused:
        assert refused.smtp_code == 550, refused
    else:
        raise SystemExit("a foreign sender was accepted")
    client.sendmail(user, ["alex@contoso.example"], mail("after a refusal"))

with smtplib.SMTP_SSL("localhost", int(implicit), context=context) as client:
    client.login(user, password)
    client.sendmail(user, ["alex@contoso.example"], mail("two"))
