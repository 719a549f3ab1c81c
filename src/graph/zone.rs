//! Time zones by the names that Graph documents: those of Windows (Graph: dateTimeTimeZone). Pure.
//!
//! CLDR's windowsZones says which Windows zone an IANA zone is part of. That is checked against the
//! rules of the zone for as long as the event lasts, since the table, the IANA database and a zone of
//! the same offsets may all differ. Where none fits there is no name: never the next best.

use chrono_tz::Tz;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use windows_timezones::WindowsTimezone;

/// The Windows name under which local times from `from` to `until` are the same instants as in `zone`.
pub fn windows_name(zone: &TimeZone, from: Timestamp, until: Timestamp) -> Option<&'static str> {
    let fits = |windows: &WindowsTimezone| {
        representative(*windows).is_some_and(|rules| agree(zone, &rules, from, until))
    };
    if let Some(windows) = zone.iana_name().and_then(by_cldr).filter(fits) {
        return Some(windows.name());
    }
    // A zone without a name, newer than the table, or an alias that it does not list. What behaves the
    // same will do; what has done so for longest is likely the same place.
    const EARLIER_DAYS: [i64; 3] = [50 * 366, 20 * 366, 0];
    EARLIER_DAYS.iter().find_map(|days| {
        let earlier = jiff::SignedDuration::from_hours(days * 24);
        let since = from.checked_sub(earlier).unwrap_or(Timestamp::MIN);
        let fits = |windows: &WindowsTimezone| {
            representative(*windows).is_some_and(|rules| agree(zone, &rules, since, until))
        };
        ZONES.iter().copied().find(fits).map(WindowsTimezone::name)
    })
}

/// The rules behind a Windows name, as a mailbox's settings or an event's answer give it.
pub fn by_windows_name(name: &str) -> Option<TimeZone> {
    representative(name.parse().ok()?)
}

fn by_cldr(iana: &str) -> Option<WindowsTimezone> {
    if iana == "UTC" {
        return Some(WindowsTimezone::Utc);
    }
    let first = RENAMED.iter().find(|(now, _)| *now == iana).map_or(iana, |(_, first)| *first);
    // Only the names of chrono-tz are used: its rules are older than the system's.
    WindowsTimezone::try_from(first.parse::<Tz>().ok()?).ok()
}

fn representative(windows: WindowsTimezone) -> Option<TimeZone> {
    match windows {
        WindowsTimezone::Utc => Some(TimeZone::UTC),
        _ => TimeZone::get(windows.tzdb_id()).ok(),
    }
}

/// Whether two zones have the same offset throughout.
fn agree(one: &TimeZone, other: &TimeZone, from: Timestamp, until: Timestamp) -> bool {
    let same_at = |at: Timestamp| one.to_offset(at) == other.to_offset(at);
    let same_after_changes = |zone: &TimeZone| {
        zone.following(from)
            .map(|transition| transition.timestamp())
            .take_while(|at| *at <= until)
            .all(same_at)
    };
    one == other || same_at(from) && same_after_changes(one) && same_after_changes(other)
}

/// What the IANA database calls some zones now, and their first name, which is the one CLDR keeps.
const RENAMED: [(&str, &str); 19] = [
    ("Africa/Asmara", "Africa/Asmera"),
    ("America/Argentina/Buenos_Aires", "America/Buenos_Aires"),
    ("America/Argentina/Catamarca", "America/Catamarca"),
    ("America/Argentina/Cordoba", "America/Cordoba"),
    ("America/Argentina/Jujuy", "America/Jujuy"),
    ("America/Argentina/Mendoza", "America/Mendoza"),
    ("America/Atikokan", "America/Coral_Harbour"),
    ("America/Indiana/Indianapolis", "America/Indianapolis"),
    ("America/Kentucky/Louisville", "America/Louisville"),
    ("America/Nuuk", "America/Godthab"),
    ("Asia/Ho_Chi_Minh", "Asia/Saigon"),
    ("Asia/Kathmandu", "Asia/Katmandu"),
    ("Asia/Kolkata", "Asia/Calcutta"),
    ("Asia/Yangon", "Asia/Rangoon"),
    ("Atlantic/Faroe", "Atlantic/Faeroe"),
    ("Europe/Kyiv", "Europe/Kiev"),
    ("Pacific/Chuuk", "Pacific/Truk"),
    ("Pacific/Kanton", "Pacific/Enderbury"),
    ("Pacific/Pohnpei", "Pacific/Ponape"),
];

/// All of them, as CLDR orders them (the crate has no list).
const ZONES: [WindowsTimezone; 139] = {
    use WindowsTimezone::*;
    [
        DatelineStandardTime,
        UtcMinus11,
        AleutianStandardTime,
        HawaiianStandardTime,
        MarquesasStandardTime,
        AlaskanStandardTime,
        UtcMinus09,
        PacificStandardTimeMexico,
        UtcMinus08,
        PacificStandardTime,
        UsMountainStandardTime,
        MountainStandardTimeMexico,
        MountainStandardTime,
        YukonStandardTime,
        CentralAmericaStandardTime,
        CentralStandardTime,
        EasterIslandStandardTime,
        CentralStandardTimeMexico,
        CanadaCentralStandardTime,
        SaPacificStandardTime,
        EasternStandardTimeMexico,
        EasternStandardTime,
        HaitiStandardTime,
        CubaStandardTime,
        UsEasternStandardTime,
        TurksAndCaicosStandardTime,
        ParaguayStandardTime,
        AtlanticStandardTime,
        VenezuelaStandardTime,
        CentralBrazilianStandardTime,
        SaWesternStandardTime,
        PacificSaStandardTime,
        NewfoundlandStandardTime,
        TocantinsStandardTime,
        ESouthAmericaStandardTime,
        SaEasternStandardTime,
        ArgentinaStandardTime,
        GreenlandStandardTime,
        MontevideoStandardTime,
        MagallanesStandardTime,
        SaintPierreStandardTime,
        BahiaStandardTime,
        UtcMinus02,
        AzoresStandardTime,
        CapeVerdeStandardTime,
        Utc,
        GmtStandardTime,
        GreenwichStandardTime,
        SaoTomeStandardTime,
        MoroccoStandardTime,
        WEuropeStandardTime,
        CentralEuropeStandardTime,
        RomanceStandardTime,
        CentralEuropeanStandardTime,
        WCentralAfricaStandardTime,
        JordanStandardTime,
        GtbStandardTime,
        MiddleEastStandardTime,
        EgyptStandardTime,
        EEuropeStandardTime,
        SyriaStandardTime,
        WestBankStandardTime,
        SouthAfricaStandardTime,
        FleStandardTime,
        IsraelStandardTime,
        SouthSudanStandardTime,
        KaliningradStandardTime,
        SudanStandardTime,
        LibyaStandardTime,
        NamibiaStandardTime,
        ArabicStandardTime,
        TurkeyStandardTime,
        ArabStandardTime,
        BelarusStandardTime,
        RussianStandardTime,
        EAfricaStandardTime,
        IranStandardTime,
        ArabianStandardTime,
        AstrakhanStandardTime,
        AzerbaijanStandardTime,
        RussiaTimeZone3,
        MauritiusStandardTime,
        SaratovStandardTime,
        GeorgianStandardTime,
        VolgogradStandardTime,
        CaucasusStandardTime,
        AfghanistanStandardTime,
        WestAsiaStandardTime,
        EkaterinburgStandardTime,
        PakistanStandardTime,
        QyzylordaStandardTime,
        IndiaStandardTime,
        SriLankaStandardTime,
        NepalStandardTime,
        CentralAsiaStandardTime,
        BangladeshStandardTime,
        OmskStandardTime,
        MyanmarStandardTime,
        SeAsiaStandardTime,
        AltaiStandardTime,
        WMongoliaStandardTime,
        NorthAsiaStandardTime,
        NCentralAsiaStandardTime,
        TomskStandardTime,
        ChinaStandardTime,
        NorthAsiaEastStandardTime,
        SingaporeStandardTime,
        WAustraliaStandardTime,
        TaipeiStandardTime,
        UlaanbaatarStandardTime,
        AusCentralWStandardTime,
        TransbaikalStandardTime,
        TokyoStandardTime,
        NorthKoreaStandardTime,
        KoreaStandardTime,
        YakutskStandardTime,
        CenAustraliaStandardTime,
        AusCentralStandardTime,
        EAustraliaStandardTime,
        AusEasternStandardTime,
        WestPacificStandardTime,
        TasmaniaStandardTime,
        VladivostokStandardTime,
        LordHoweStandardTime,
        BougainvilleStandardTime,
        RussiaTimeZone10,
        MagadanStandardTime,
        NorfolkStandardTime,
        SakhalinStandardTime,
        CentralPacificStandardTime,
        RussiaTimeZone11,
        NewZealandStandardTime,
        UtcPlus12,
        FijiStandardTime,
        ChathamIslandsStandardTime,
        UtcPlus13,
        TongaStandardTime,
        SamoaStandardTime,
        LineIslandsStandardTime,
    ]
};

#[cfg(test)]
mod tests {
    use jiff::tz;

    use super::*;

    const BERLIN: &str = "W. Europe Standard Time";

    fn zone_of(rules: TimeZone) -> Option<&'static str> {
        let from = "2026-01-01T00:00:00Z".parse().unwrap();
        windows_name(&rules, from, "2031-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn zones_have_the_names_of_windows() {
        for (iana, windows) in [
            ("UTC", "UTC"),
            ("Etc/UTC", "UTC"),
            ("Europe/Berlin", BERLIN),
            ("Europe/Madrid", "Romance Standard Time"),
            ("America/Toronto", "Eastern Standard Time"),
            ("Australia/Lord_Howe", "Lord Howe Standard Time"),
            // CLDR's table has the names that these had before.
            ("Asia/Kolkata", "India Standard Time"),
            ("Europe/Kyiv", "FLE Standard Time"),
            ("US/Pacific", "Pacific Standard Time"),
        ] {
            assert_eq!(zone_of(TimeZone::get(iana).unwrap()), Some(windows), "{iana}");
        }
        let by_rule = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(zone_of(by_rule), Some(BERLIN));
        assert_eq!(zone_of(TimeZone::fixed(tz::offset(-7))), Some("US Mountain Standard Time"));
        // Two hours between summer and winter: nobody else has that.
        assert_eq!(zone_of(TimeZone::get("Antarctica/Troll").unwrap()), None);
        assert_eq!(by_windows_name(BERLIN).unwrap().iana_name(), Some("Europe/Berlin"));
        assert_eq!(by_windows_name("Narnia Standard Time"), None);
    }

    #[test]
    fn a_zone_is_named_only_if_the_name_means_the_same_instants() {
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (mut named, mut unnamed) = (0, Vec::new());
        for name in tz::db().available() {
            let Ok(zone) = TimeZone::get(name.as_str()) else { continue };
            match zone_of(zone.clone()).and_then(by_windows_name) {
                None => unnamed.push(name.as_str().to_owned()),
                Some(meant) => {
                    named += 1;
                    for hours in (0..5 * 366 * 24).step_by(13) {
                        let at = from + jiff::SignedDuration::from_hours(hours);
                        assert_eq!(zone.to_offset(at), meant.to_offset(at), "{name} at {at}");
                    }
                }
            }
        }
        println!("without a name: {unnamed:?}");
        assert!(named > 400 && unnamed.len() < 25, "{named} have one, not: {unnamed:?}");
    }
}
