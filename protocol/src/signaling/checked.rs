//! Peer messages turned into types that hold what the rest of the code relies on.

use super::pb;
use crate::id::{ParseIdError, StreamId};

/// Simulcast layers that one stream may declare: browsers encode at most four.
pub const MAX_LAYERS: usize = 8;
/// Bytes of a codec name or layer id.
const MAX_NAME: usize = 64;
/// Bytes of codec configuration: parameter sets take a few hundred. It is repeated to every
/// participant, so a large one would push rosters over the bound of a message.
const MAX_CODEC_CONFIG: usize = 4 * 1024;

/// One encoding of a stream, with the stream id its units carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Name of the layer; empty for the only layer of a stream without simulcast.
    pub layer_id: String,
    /// The id in unit headers.
    pub wire_stream_id: StreamId,
    /// bit/s; 0 = not declared.
    pub max_bitrate_bps: u32,
}

/// A published stream whose ids are valid and whose layers are known.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamDescription {
    /// The stream as applications name it.
    pub stream_id: StreamId,
    /// Audio, camera or screen.
    pub stream_type: pb::StreamType,
    /// Layers from the lowest to the highest declared bit rate; at least one.
    pub layers: Vec<Layer>,
    /// As the publisher sent it.
    pub metadata: pb::StreamMetadata,
}

/// What is wrong with a stream that a client wants to publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Not a UUID.
    #[error(transparent)]
    Id(#[from] ParseIdError),
    /// Not one of the stream types.
    #[error("stream_type {0} is not known: 0 audio, 1 camera, 2 screen")]
    UnknownType(i32),
    /// `metadata` or `metadata.codec` is missing.
    #[error("metadata.codec is required, for example \"VP8\" or \"Opus\"")]
    MissingCodec,
    /// A name is longer than it may be.
    #[error("{0} is longer than {MAX_NAME} bytes")]
    NameTooLong(&'static str),
    /// `metadata.codec_config` is longer than it may be.
    #[error("metadata.codec_config is longer than {MAX_CODEC_CONFIG} bytes")]
    CodecConfigTooLong,
    /// More layers than [`MAX_LAYERS`].
    #[error("a stream has at most {MAX_LAYERS} simulcast layers")]
    TooManyLayers,
    /// Two layers with the same layer id or stream id.
    #[error("simulcast layers must differ in layer_id and stream_id")]
    DuplicateLayer,
}

impl StreamDescription {
    /// Whether the units are audio.
    pub fn is_audio(&self) -> bool {
        self.stream_type == pb::StreamType::Audio
    }

    /// The layer for a subscriber's wishes: the preferred one if it exists, else the best within
    /// `max_bitrate_bps` (0 = no limit), else the lowest.
    pub fn select_layer(&self, preferred: &str, max_bitrate_bps: u32) -> &Layer {
        let by_name =
            || self.layers.iter().find(|layer| !preferred.is_empty() && layer.layer_id == preferred);
        let within = || {
            let fits = |layer: &&Layer| max_bitrate_bps == 0 || layer.max_bitrate_bps <= max_bitrate_bps;
            self.layers.iter().rev().find(fits)
        };
        by_name().or_else(within).or(self.layers.first()).expect("a stream has at least one layer")
    }

    /// The message again, with every layer's stream id filled in.
    pub fn to_message(&self) -> pb::MediaStream {
        pb::MediaStream {
            stream_id: self.stream_id.to_string(),
            stream_type: self.stream_type.into(),
            metadata: Some(self.metadata.clone()),
        }
    }
}

impl TryFrom<pb::PublishStream> for StreamDescription {
    type Error = StreamError;

    fn try_from(message: pb::PublishStream) -> Result<Self, StreamError> {
        let stream_id: StreamId = message.stream_id.parse()?;
        let stream_type = pb::StreamType::try_from(message.stream_type)
            .map_err(|_| StreamError::UnknownType(message.stream_type))?;
        let mut metadata = message.metadata.ok_or(StreamError::MissingCodec)?;
        if metadata.codec.is_empty() {
            return Err(StreamError::MissingCodec);
        }
        if metadata.codec.len() > MAX_NAME {
            return Err(StreamError::NameTooLong("metadata.codec"));
        }
        if metadata.codec_config.len() > MAX_CODEC_CONFIG {
            return Err(StreamError::CodecConfigTooLong);
        }
        let declared = metadata.video.as_mut().map_or(&mut [][..], |video| &mut video.simulcast_layers);
        if declared.len() > MAX_LAYERS {
            return Err(StreamError::TooManyLayers);
        }
        let mut layers = Vec::with_capacity(declared.len().max(1));
        for layer in declared {
            if layer.layer_id.len() > MAX_NAME {
                return Err(StreamError::NameTooLong("layer_id"));
            }
            let wire_stream_id = match layer.stream_id.as_str() {
                "" => stream_id.of_layer(&layer.layer_id),
                text => text.parse()?,
            };
            layer.stream_id = wire_stream_id.to_string();
            let same =
                |other: &Layer| other.layer_id == layer.layer_id || other.wire_stream_id == wire_stream_id;
            if layers.iter().any(same) {
                return Err(StreamError::DuplicateLayer);
            }
            layers.push(Layer {
                layer_id: layer.layer_id.clone(),
                wire_stream_id,
                max_bitrate_bps: layer.max_bitrate,
            });
        }
        if layers.is_empty() {
            let max_bitrate_bps = metadata.max_bitrate;
            layers.push(Layer { layer_id: String::new(), wire_stream_id: stream_id, max_bitrate_bps });
        }
        layers.sort_by_key(|layer| layer.max_bitrate_bps);
        Ok(Self { stream_id, stream_type, layers, metadata })
    }
}
