// The steps of ../README.md with Java's own HttpClient, which can't be given the proxy's token by a variable.
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.Base64;
import java.util.HexFormat;

public class Client {
    static final String KEY = System.getenv("TOOL_API_KEY");
    static final HttpClient CLIENT = HttpClient.newBuilder().proxy(java.net.ProxySelector.getDefault()).build();
    static String base;

    static byte[] read(String path, HttpRequest.Builder request) throws Exception {
        var response = CLIENT.send(request.uri(URI.create(base + path)).timeout(Duration.ofSeconds(60)).build(), BodyHandlers.ofByteArray());
        if (response.statusCode() != 200) {
            throw new IllegalStateException(path + ": " + response.statusCode() + " " + new String(response.body()));
        }
        return response.body();
    }

    static String body(String path, HttpRequest.Builder request) throws Exception {
        return new String(read(path, request), StandardCharsets.UTF_8);
    }

    static HttpRequest.Builder with(String name, String value) {
        return HttpRequest.newBuilder().header(name, value);
    }

    public static void main(String[] args) throws Exception {
        base = args[0];
        var text = "use " + KEY + " here";
        var basic = Base64.getEncoder().encodeToString(("user:" + KEY).getBytes());
        var json = "{\"key\": \"" + KEY + "\", \"text\": \"" + text + "\"}";
        var form = "key=" + URLEncoder.encode(KEY, StandardCharsets.UTF_8) + "&text=" + URLEncoder.encode(text, StandardCharsets.UTF_8);
        var download = MessageDigest.getInstance("SHA-256").digest(read("/blob?n=3000000", HttpRequest.newBuilder()));
        var upload = "0123456789".repeat(300_000);
        System.out.println("{\"header\": " + body("/header", with("Authorization", "Bearer " + KEY))
            + ", \"basic\": " + body("/basic", with("Authorization", "Basic " + basic))
            + ", \"json\": " + body("/json", with("Content-Type", "application/json").POST(BodyPublishers.ofString(json)))
            + ", \"form\": " + body("/form", with("Content-Type", "application/x-www-form-urlencoded").POST(BodyPublishers.ofString(form)))
            + ", \"stream\": " + body("/chunked", HttpRequest.newBuilder())
            + ", \"download\": \"" + HexFormat.of().formatHex(download) + "\""
            + ", \"upload\": " + body("/upload", HttpRequest.newBuilder().PUT(BodyPublishers.ofString(upload))) + "}");
    }
}
