<?php
// The steps of ../README.md with PHP's curl.
[$base, $key] = [$argv[1], getenv("TOOL_API_KEY")];
$fields = ["key" => $key, "text" => "use $key here"];

function read(string $path, array $options = []): string {
    global $base;
    $curl = curl_init($base . $path);
    curl_setopt_array($curl, $options + [CURLOPT_RETURNTRANSFER => true, CURLOPT_FAILONERROR => true, CURLOPT_TIMEOUT => 60]);
    $body = curl_exec($curl);
    if ($body === false) {
        fwrite(STDERR, "$path: " . curl_error($curl) . "\n");
        exit(1);
    }
    return $body;
}

function body(string $path, array $options = []): mixed {
    return json_decode(read($path, $options), true);
}

$upload = tmpfile();
fwrite($upload, str_repeat("0123456789", 300_000));
rewind($upload);
$slashes = JSON_UNESCAPED_SLASHES;
echo json_encode([
    "header" => body("/header", [CURLOPT_HTTPHEADER => ["Authorization: Bearer $key"]]),
    "basic" => body("/basic", [CURLOPT_USERPWD => "user:$key"]),
    "json" => body("/json", [CURLOPT_HTTPHEADER => ["Content-Type: application/json"], CURLOPT_POSTFIELDS => json_encode($fields)]),
    "form" => body("/form", [CURLOPT_POSTFIELDS => http_build_query($fields)]),
    "stream" => body("/chunked"),
    "download" => hash("sha256", read("/blob?n=3000000")),
    "upload" => body("/upload", [CURLOPT_PUT => true, CURLOPT_INFILE => $upload, CURLOPT_INFILESIZE => 3_000_000]),
], $slashes), "\n";
