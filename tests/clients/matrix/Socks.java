// SOCKS5 by the JVM's own settings: the argument is the URL.
import java.net.HttpURLConnection;
import java.net.URI;

public class Socks {
    public static void main(String[] arguments) throws Exception {
        var connection = (HttpURLConnection) URI.create(arguments[0] + "/java").toURL().openConnection();
        connection.setRequestProperty("Authorization", "Bearer " + System.getenv("TOOL_API_KEY"));
        System.out.println(connection.getResponseCode());
    }
}
