// An upload by Java's own HttpClient that waits to be let: 100 Continue, in HTTP/$2. Prints the answer.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

public class Expect {
    public static void main(String[] args) throws Exception {
        var version = args[1].equals("2") ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1;
        var client = HttpClient.newBuilder().version(version).proxy(java.net.ProxySelector.getDefault()).build();
        var request = HttpRequest.newBuilder(URI.create(args[0] + "/upload")).expectContinue(true).timeout(Duration.ofSeconds(30))
            .header("Authorization", "Bearer " + System.getenv("TOOL_API_KEY")).PUT(BodyPublishers.ofString("0123456789".repeat(300_000)));
        var response = client.send(request.build(), BodyHandlers.ofString());
        System.out.println(response.version() + " " + response.statusCode() + " " + response.body());
    }
}
