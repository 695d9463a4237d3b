use super::*;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<String, BlockFault> {
    let mut fields = Vec::new();
    decoder.read(block, |field| {
        let [name, value] = [field.name, field.value].map(String::from_utf8_lossy);
        fields.push(format!("{name}: {value}"));
    })?;
    Ok(fields.join(", "))
}

/// RFC 7541, appendices C.3 and C.4: the same requests, plain and in Huffman's code, and how large the table is then.
#[test]
fn the_standards_own_blocks_are_read_and_fill_the_table_as_it_says() {
    const WANTED: [(&str, usize); 3] = [
        (":method: GET, :scheme: http, :path: /, :authority: www.example.com", 57),
        (":method: GET, :scheme: http, :path: /, :authority: www.example.com, cache-control: no-cache", 110),
        (
            ":method: GET, :scheme: https, :path: /index.html, :authority: www.example.com, custom-key: custom-value",
            164,
        ),
    ];
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut decoder = Decoder::default();
        for (block, (fields, size)) in blocks.iter().zip(WANTED) {
            assert_eq!((read(&mut decoder, &bytes(block)).as_deref(), decoder.size), (Ok(fields), size), "{block}");
        }
    }
}

/// RFC 7541, appendix C.6: a table of 256 bytes, from which entries leave.
#[test]
fn what_a_small_table_has_no_room_for_leaves_it() {
    let mut decoder = Decoder::default();
    for (block, last, size) in [
        (
            // the standard's example has the size from a setting
            "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 \
             e9ae 82ae 43d3",
            "location: https://www.example.com",
            222,
        ),
        ("4883 640e ffc1 c0bf", "location: https://www.example.com", 222),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 \
             d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            215,
        ),
    ] {
        let fields = read(&mut decoder, &bytes(block)).unwrap();
        assert!(fields.ends_with(last), "{fields}");
        assert_eq!(decoder.size, size);
    }
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    for block in [
        &b"\x80"[..],
        b"\xbe",
        b"\x40\x03x",
        b"\x40",
        b"\x7f",
        b"\xff\xff\xff\xff\xff\xff\xff",
        // the code that ends a text, padding of a byte, and padding with a zero
        b"\x00\x84\xff\xff\xff\xff\x01b",
        b"\x00\x82\x1f\xff\x01b",
        b"\x00\x81\x1e\x01b",
        // a table larger than allowed, and a size behind a field
        b"\x3f\xe2\x1f",
        b"\x82\x20",
    ] {
        assert_eq!(read(&mut Decoder::default(), block), Err(BlockFault), "{block:x?}");
    }
    let mut decoder = Decoder::default();
    assert_eq!(read(&mut decoder, b"\x20\x40\x01a\x01b").as_deref(), Ok("a: b"), "a table of no size holds nothing");
    assert_eq!((decoder.size, read(&mut decoder, b"\xbe")), (0, Err(BlockFault)));
}

/// A text in Huffman's code.
fn coded(text: &[u8]) -> Vec<u8> {
    let mut bits = String::new();
    for byte in text {
        let place = SYMBOLS.iter().position(|symbol| symbol == byte).unwrap();
        let (length, range) = (1_usize..=30).zip(RANGES).filter(|(_, range)| range.symbol <= place).last().unwrap();
        let code = (range.first >> (32 - length)) as usize + place - range.symbol;
        bits.push_str(&format!("{code:0length$b}"));
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    bits.as_bytes().chunks(8).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()).collect()
}

proptest! {
    #[test]
    fn each_text_comes_back_from_its_code(text in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut out = Vec::new();
        prop_assert_eq!(decode(&coded(&text), &mut out), Ok(()));
        prop_assert_eq!(out, text);
    }

    #[test]
    fn what_is_written_is_read_and_leaves_no_table(
        fields in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
    ) {
        let mut block = Vec::new();
        fields.iter().for_each(|(name, value)| Field::new(name, value).write(&mut block));
        let (mut decoder, mut back) = (Decoder::default(), Vec::new());
        decoder.read(&block, |field| back.push((field.name.to_vec(), field.value.to_vec()))).unwrap();
        prop_assert_eq!(back, fields);
        prop_assert_eq!(decoder.size, 0);
    }

    /// However a field was written, it is read as the same from what is written of it.
    #[test]
    fn no_block_makes_trouble_and_each_says_the_same_written_anew(block in proptest::collection::vec(any::<u8>(), 0..80)) {
        let (mut decoder, mut anew, mut fields) = (Decoder::default(), Vec::new(), Vec::new());
        let read = decoder.read(&block, |field| {
            field.write(&mut anew);
            fields.push((field.name.to_vec(), field.value.to_vec(), field.is_secret));
        });
        prop_assert!(decoder.size <= TABLE);
        prop_assert_eq!(decoder.size, decoder.table.iter().map(TableEntry::size).sum::<usize>());
        let mut back = Vec::new();
        Decoder::default().read(&anew, |field| back.push((field.name.to_vec(), field.value.to_vec(), field.is_secret))).unwrap();
        if read.is_ok() {
            prop_assert_eq!(back, fields);
        }
    }
}
