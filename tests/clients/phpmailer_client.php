<?php
// Sends three mails with PHPMailer, as the README says. Arguments: the implicit TLS port, the
// STARTTLS port, the user, the CA file.
require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

[, $implicit, $starttls, $user, $ca] = $argv;

$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = 'localhost';
$mail->Port = (int) $implicit;
$mail->SMTPSecure = PHPMailer::ENCRYPTION_SMTPS;
$mail->SMTPAuth = true;
$mail->Username = $user;
$mail->Password = getenv('POSTBRIDGE_PASSWORD');
$mail->SMTPOptions = ['ssl' => ['cafile' => $ca]];
$mail->setFrom($user, 'Adèle Vance');
$mail->CharSet = PHPMailer::CHARSET_UTF8;

$mail->addAddress('alex.wilber@contoso.example', 'Álex');
$mail->addBCC('megan.bowen@fabrikam.example');
$mail->Subject = 'über PHPMailer';
$mail->isHTML(true);
$mail->Body = '<p>Grüße</p>';
$mail->AltBody = 'Grüße';
$mail->addStringAttachment(str_repeat("\x00\xff", 5000), 'données.bin');
$mail->send();

// A newsletter: the connection is kept, the mails are alike but for the recipient.
$mail->clearAllRecipients();
$mail->clearAttachments();
$mail->SMTPKeepAlive = true;
$mail->Port = (int) $starttls;
$mail->SMTPSecure = PHPMailer::ENCRYPTION_STARTTLS;
$mail->AuthType = 'LOGIN';
$mail->Encoding = '8bit';
$mail->Subject = 'newsletter';
foreach (['alex.wilber@contoso.example', 'megan.bowen@fabrikam.example'] as $reader) {
    $mail->addAddress($reader);
    $mail->send();
    $mail->clearAddresses();
}
$mail->smtpClose();
