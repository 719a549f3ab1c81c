"""Sends mails made by email.message with smtplib: attachments, Bcc, SMTPUTF8, 8-bit text, and twenty
mails on one connection. Arguments: the STARTTLS port, the implicit port, the user, the CA file."""

import os
import smtplib
import ssl
import sys
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8

starttls, implicit, user, ca = sys.argv[1:]
password = os.environ["SMTP_PASSWORD"]
context = ssl.create_default_context(cafile=ca)
colleague, other = "alex.wilber@contoso.example", "megan.bowen@fabrikam.example"


def mail(subject, policy=SMTP, to=colleague):
    message = EmailMessage(policy=policy)
    message["From"], message["To"], message["Subject"] = user, to, subject
    message.set_content("Grüße\n.\nLine\n", cte="8bit" if policy is SMTPUTF8 else "base64")
    return message


with smtplib.SMTP_SSL("localhost", int(implicit), context=context) as client:
    client.login(user, password)
    message = mail("attachments")
    message["Cc"], message["Bcc"] = other, "nobody.sees@fabrikam.example"
    message.add_attachment(bytes(range(256)) * 400, "application", "pdf", filename="Anlage ü.pdf")
    message.add_attachment("a,b\n1,2\n", subtype="csv", filename="b.csv")
    client.send_message(message)
    # send_message asks for SMTPUTF8 by itself where an address needs it.
    client.send_message(mail("internationalized", SMTPUTF8, "Jürgen <jürgen@fabrikam.example>"))
    # Raw UTF-8 in the header, and SMTPUTF8 not asked for, as many a script does it.
    client.sendmail(user, [colleague], mail("größer", SMTPUTF8).as_bytes(), ["BODY=8BITMIME"])

with smtplib.SMTP("localhost", int(starttls)) as client:
    client.starttls(context=context)
    client.login(user, password)
    for number in range(20):
        if number % 5 == 4:
            client.mail(user)
            client.rset()
        client.send_message(mail(f"kept alive {number}"))
