//! A screenshot as a small file: with a palette, as a page or a terminal has few colours.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Filter, Transformations};

/// What a palette of bytes can hold.
const MOST_COLOURS: usize = 256;

type Colour = [u8; 3];

/// The same picture with the 256 most frequent of its colours; of the others, the shades along the
/// edges of letters, each gets the nearest. Transparency is lost.
///
/// # Errors
/// When it isn't a PNG.
pub(super) fn with_palette(picture: &[u8]) -> Result<Vec<u8>> {
    let (width, height, pixels) = read(picture)?;
    let mut counts: HashMap<Colour, usize> = HashMap::new();
    for pixel in &pixels {
        *counts.entry(*pixel).or_default() += 1;
    }
    let mut colours: Vec<Colour> = counts.keys().copied().collect();
    colours.sort_by_key(|colour| (std::cmp::Reverse(counts[colour]), *colour));
    let palette = &colours[..colours.len().min(MOST_COLOURS)];
    let places: BTreeMap<Colour, u8> = colours
        .iter()
        .map(|colour| (*colour, nearest(palette, *colour)))
        .collect();
    let indices: Vec<u8> = pixels.iter().map(|pixel| places[pixel]).collect();

    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, width, height);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette(palette.as_flattened());
    encoder.set_compression(Compression::High);
    // Neighbours in a palette have nothing to do with each other.
    encoder.set_filter(Filter::NoFilter);
    encoder.write_header()?.write_image_data(&indices)?;
    Ok(out)
}

fn read(picture: &[u8]) -> Result<(u32, u32, Vec<Colour>)> {
    let mut decoder = Decoder::new(Cursor::new(picture));
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().context("no PNG")?;
    let size = reader.output_buffer_size().context("too large")?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes)?;
    let samples = frame.color_type.samples();
    ensure!(samples >= 3, "{:?} has no colours", frame.color_type);
    let pixels = bytes
        .chunks_exact(samples)
        .map(|pixel| [pixel[0], pixel[1], pixel[2]]);
    Ok((frame.width, frame.height, pixels.collect()))
}

fn nearest(palette: &[Colour], colour: Colour) -> u8 {
    let distance = |other: &Colour| -> u32 {
        let parts = colour.iter().zip(other);
        parts.map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
    };
    let places = (0..=u8::MAX).zip(palette);
    places
        .min_by_key(|(_, other)| distance(other))
        .map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(pixels: &[Colour], width: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let height = u32::try_from(pixels.len()).unwrap() / width;
        let mut encoder = Encoder::new(&mut out, width, height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(pixels.as_flattened()).unwrap();
        drop(writer);
        out
    }

    #[test]
    fn up_to_256_colours_stay_as_they_are() {
        let pixels: Vec<Colour> = (0..=255).map(|shade| [shade, 7, 255 - shade]).collect();
        let small = with_palette(&picture(&pixels, 16)).unwrap();
        let mut decoder = Decoder::new(Cursor::new(&small));
        decoder.set_transformations(Transformations::IDENTITY);
        let reader = decoder.read_info().unwrap();
        assert_eq!(reader.info().color_type, ColorType::Indexed);
        assert_eq!(read(&small).unwrap(), (16, 16, pixels));
    }

    #[test]
    fn rare_colours_become_the_nearest_frequent_one() {
        // 256 shades twice each, and one once, next to the shade 40.
        let mut pixels: Vec<Colour> = (0..=255).flat_map(|shade| [[shade; 3]; 2]).collect();
        pixels.push([40, 40, 41]);
        let (_, _, small) = read(&with_palette(&picture(&pixels, 513)).unwrap()).unwrap();
        assert_eq!(small[..512], pixels[..512]);
        assert_eq!(small[512], [40; 3]);
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        assert!(with_palette(b"GIF89a").is_err());
    }
}
