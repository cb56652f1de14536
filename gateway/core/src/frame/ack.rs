//! The short packets: PUBACK, PUBREC, PUBREL and PUBCOMP, which are read here, and DISCONNECT and AUTH.

use super::properties::{Place, Property, walk};
use super::{FrameError, Input, Kind, Limits, Reason, Version};

/// What a PUBACK, PUBREC, PUBREL or PUBCOMP says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    /// The packet id, never 0.
    pub packet_id: u16,
    /// The reason; [`Reason::Success`] where the packet carries none.
    pub reason: Reason,
}

pub(super) fn check(input: &mut Input<'_>, kind: Kind, version: Version, limits: &Limits) -> Result<Ack, FrameError> {
    let mut ack = Ack { packet_id: input.packet_id()?, reason: Reason::Success };
    // Reason and properties may be left out from the end (MQTT5 3.4.2.1); 3.1.1 has neither.
    if version == Version::V5 && !input.is_empty() {
        ack.reason = reason(input, |reason| is_ack_reason(kind, reason))?;
        if !input.is_empty() {
            walk(input, Place::ACK, limits, |_, _| Ok(()))?;
        }
    }
    input.finish("acknowledgement")?;
    Ok(ack)
}

const fn is_ack_reason(kind: Kind, reason: Reason) -> bool {
    match kind {
        Kind::PubRel | Kind::PubComp => matches!(reason, Reason::Success | Reason::PacketIdentifierNotFound),
        _ => matches!(
            reason,
            Reason::Success
                | Reason::NoMatchingSubscribers
                | Reason::UnspecifiedError
                | Reason::ImplementationSpecificError
                | Reason::NotAuthorized
                | Reason::TopicNameInvalid
                | Reason::PacketIdentifierInUse
                | Reason::QuotaExceeded
                | Reason::PayloadFormatInvalid
        ),
    }
}

pub(super) fn check_disconnect(input: &mut Input<'_>, version: Version, limits: &Limits) -> Result<(), FrameError> {
    if version == Version::V5 && !input.is_empty() {
        reason(input, is_client_disconnect_reason)?;
        if !input.is_empty() {
            walk(input, Place::DISCONNECT, limits, |_, _| Ok(()))?;
        }
    }
    input.finish("DISCONNECT")
}

/// The reasons that a client may give (MQTT5 3.14.2.1).
const fn is_client_disconnect_reason(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Success
            | Reason::DisconnectWithWill
            | Reason::UnspecifiedError
            | Reason::MalformedPacket
            | Reason::ProtocolError
            | Reason::ImplementationSpecificError
            | Reason::TopicNameInvalid
            | Reason::ReceiveMaximumExceeded
            | Reason::TopicAliasInvalid
            | Reason::PacketTooLarge
            | Reason::MessageRateTooHigh
            | Reason::QuotaExceeded
            | Reason::AdministrativeAction
            | Reason::PayloadFormatInvalid
    )
}

/// AUTH exists in MQTT 5 only, which the header check has seen to.
pub(super) fn check_auth(input: &mut Input<'_>, limits: &Limits) -> Result<(), FrameError> {
    if !input.is_empty() {
        reason(input, |reason| matches!(reason, Reason::ContinueAuthentication | Reason::ReAuthenticate))?;
        let mut has_method = false;
        walk(input, Place::AUTH, limits, |property, _| {
            has_method |= matches!(property, Property::AuthenticationMethod(_));
            Ok(())
        })?;
        input.finish("AUTH")?;
        if has_method {
            return Ok(());
        }
    }
    // An empty AUTH says "success", which only a server can; any other names its method (MQTT5 3.15.2.2.2).
    Err(FrameError::protocol("AUTH", "names no authentication method"))
}

fn reason(input: &mut Input<'_>, valid: impl Fn(Reason) -> bool) -> Result<Reason, FrameError> {
    match Reason::from_code(input.u8("reason code")?) {
        Some(reason) if valid(reason) => Ok(reason),
        Some(_) => Err(FrameError::protocol("reason code", "is not one that a client may send in this packet")),
        None => Err(FrameError::malformed("reason code", "is unknown")),
    }
}
