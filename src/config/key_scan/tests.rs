use super::*;
use crate::config::settings::{CliPaths, ConfigEnvironment, Settings};
use proptest::prelude::*;
use std::sync::LazyLock;

const TOOLS: &str = "[key.tool]\nhosts = [\"api.tool.example\"]\n[key.other]\nhosts = [\"*.other.example\"]\n";

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let env = ConfigEnvironment::from_iter([("HOME".into(), "/home/u".into())]);
    Settings::trial(Path::new("/etc/locum.toml"), TOOLS, &CliPaths::default(), &env).expect("settings")
});

/// Fake keys of each shape, put together here so that no scanner of secrets takes this file for a leak.
fn filled(text: &str) -> String {
    let keys = [
        ("@OPENAI@", ["sk-", "proj-", "Gf9Ps2Ua7Ei3oTzQxWnBr4MNOP"].concat()),
        ("@ANTHROPIC@", ["sk-", "ant-", "api03-", &"q8Zt2LwXvR".repeat(9)].concat()),
        ("@DEEPSEEK@", ["sk-", &"5f0c2d9be1a84763".repeat(2)].concat()),
        ("@OPENROUTER@", ["sk-", "or-v1-", &"5f0c2d9be1a84763".repeat(4)].concat()),
        ("@GITHUB@", ["gh", "p_", &"q8Zt2LwXvR4a".repeat(3)].concat()),
        ("@PLAIN@", ["tk-5f0c2d9be1", "-q8Zt2LwXvR"].concat()),
        ("@HEX@", "8f14e45fceea167a5a36dedd4bea2543".to_owned()),
    ];
    keys.iter().fold(text.to_owned(), |text, (slot, key)| text.replace(slot, key))
}

/// `LINE PATH -> KEY`, or the beginning of why it stays.
fn found(file: &str, text: &str) -> Vec<String> {
    let text = filled(text);
    let scan = find(Path::new(file), &text, &SETTINGS.keys);
    let told = |value: FoundValue| {
        let what = match &value.verdict {
            ValueVerdict::Key(of) => {
                let raw = &text[value.at.clone()];
                assert_eq!(value.writing.write(&value.value), raw, "{file}");
                let quotes = if value.quotes.is_some() { " in quotes" } else { "" };
                format!("{}{quotes}", SETTINGS.keys[*of].name)
            }
            ValueVerdict::InKeyring { of, user } => format!("{} in keyring as {user}", SETTINGS.keys[*of].name),
            ValueVerdict::Stays(why) => format!("stays: {why}"),
        };
        format!("{} {} -> {what}", value.line, value.path)
    };
    scan.values.into_iter().map(told).collect()
}

fn check(cases: &[(&str, &str, &[&str])]) {
    for (file, text, wanted) in cases {
        assert_eq!(found(file, text), *wanted, "{file}: {text}");
    }
}

#[test]
fn pairs_of_lines_are_read_as_shells_and_their_like_do() {
    check(&[
        (".env", "OPENAI_API_KEY=abc\n", &["1 OPENAI_API_KEY -> openai in quotes"]),
        (
            ".env",
            "export OPENAI_API_KEY='abc'\r\nTOOL_API_KEY = \"d/e+f==\"\r\n",
            &["1 OPENAI_API_KEY -> openai", "2 TOOL_API_KEY -> tool"],
        ),
        (
            ".env",
            "A=1 OPENAI_API_KEY=abc; export TOOL_API_KEY=def # mine\n",
            &["1 OPENAI_API_KEY -> openai in quotes", "1 TOOL_API_KEY -> tool in quotes"],
        ),
        (".env", "OPENAI_API_KEY=\nTOOL_API_KEY=\"\"\nOTHER_API_KEY=${X}\nXAI_API_KEY=<<xai_key>>\n", &[]),
        (".env", "OPENAI_API_KEY=TOOL_API_KEY=abc", &["1 OPENAI_API_KEY -> openai in quotes"]),
        (".env", "TOOL_API_KEY=\"a\\$b1\"", &["1 TOOL_API_KEY -> tool"]),
        (".env", "TOOL_API_KEY='ab'\"cd\"", &["1 TOOL_API_KEY -> stays: written with escapes or among others"]),
        (".env", "TOOL_API_KEY=$'abc'", &["1 TOOL_API_KEY -> tool"]),
        (".env", "X=\"two\nlines\"\nTOOL_API_KEY=abc", &["3 TOOL_API_KEY -> tool in quotes"]),
        (".env", "MY_OPENAI_API_KEY=@HEX@", &["1 MY_OPENAI_API_KEY -> stays: no key that locum knows"]),
        (".env", "DB_PASSWORD=hunter2\nPORT=80\nMAX_TOKENS=4096", &["1 DB_PASSWORD -> stays: no key that locum knows"]),
        (
            ".env",
            "# OPENAI_API_KEY=@OPENAI@\n# OPENAI_API_KEY=your-key",
            &["1 OPENAI_API_KEY -> stays: in a comment, a name or a command"],
        ),
        (
            "a.fish",
            "set -gx OPENAI_API_KEY @OPENAI@\nset -Ux TOOL_API_KEY \"abc\"",
            &["1 OPENAI_API_KEY -> openai in quotes", "2 TOOL_API_KEY -> tool"],
        ),
        ("a.ps1", "$env:OPENAI_API_KEY = \"@OPENAI@\"", &["1 OPENAI_API_KEY -> openai"]),
        (
            ".bashrc",
            "alias x=\"OPENAI_API_KEY=@OPENAI@ x\"",
            &["1 OPENAI_API_KEY -> stays: in a comment, a name or a command"],
        ),
        (
            "a.ini",
            "[brave]\napi_key = abc ; mine\n[x]\napi_key=@HEX@\n",
            &["2 brave.api_key -> brave", "4 x.api_key -> stays: no key that locum knows"],
        ),
        (
            ".npmrc",
            "//registry.tool.example/:_authToken=@HEX@\n//api.tool.example/:_authToken=abc\n",
            &[
                "1 registry.tool.example._authToken -> stays: no key that locum knows",
                "2 api.tool.example._authToken -> tool",
            ],
        ),
        (
            ".aws/credentials",
            "[default]\naws_access_key_id = AKIA5F0C2D9BE1A84763\naws_secret_access_key = @HEX@/+abc\n",
            &["3 default.aws_secret_access_key -> stays: requests are signed with it, and no placeholder signs"],
        ),
        (".env", "OPENAI_API_KEY=@OPENROUTER@\n", &["1 OPENAI_API_KEY -> openrouter in quotes"]),
        (".env", "TOOL_API_KEY=@OPENROUTER@\n", &["1 TOOL_API_KEY -> tool in quotes"]),
        (".env", "NANOFOLKS_PROVIDERS__GROQ__API_KEY=abc", &["1 NANOFOLKS_PROVIDERS.GROQ.API_KEY -> groq in quotes"]),
        (
            ".env",
            "URL=https://x:@GITHUB@@github.com/a\nDB=postgres://u:hunter2@db.example/x",
            &[
                "1 URL.password -> github in quotes",
                "2 DB.password -> stays: goes over postgres, which locum doesn't speak",
            ],
        ),
        (".env", "MCP='{\"a\": {\"env\": {\"TOOL_API_KEY\": \"abc\"}}}'", &["1 MCP.a.env.TOOL_API_KEY -> tool"]),
        (
            ".netrc",
            "machine api.tool.example\n  login me # x\n  password abc\nmachine b.example login me password hunter2",
            &["3 api.tool.example.password -> tool", "4 b.example.password -> stays: no key that locum knows"],
        ),
    ]);
}

#[test]
fn paths_tell_whose_a_key_is() {
    check(&[
        (
            "config.json",
            "{\"providers\": {\"openai\": {\"api_key\": \"abc\"}, \"deepseek\": {\"api_key\": \"@DEEPSEEK@\"},\n\
             \"groq\": {\"api_key\": \"__KEYRING__\"}, \"zhipu_x\": {\"apiKey\": \"@HEX@\"}, \"xai\": {\"api_key\": \"\"}},\n\
             \"tools\": {\"web\": {\"search\": {\"brave\": {\"apiKey\": \"abc\"}}}}}",
            &[
                "1 providers.openai.api_key -> openai",
                "1 providers.deepseek.api_key -> deepseek",
                "2 providers.groq.api_key -> groq in keyring as groq",
                "2 providers.zhipu_x.apiKey -> stays: no key that locum knows",
                "3 tools.web.search.brave.apiKey -> brave",
            ],
        ),
        (
            "mcp.json",
            "{\"mcpServers\": {\n\"a\": {\"url\": \"https://api.tool.example/mcp\", \"headers\": {\"Authorization\": \"Bearer abc1\"}},\n\
             \"brave-search\": {\"env\": {\"API_KEY\": \"abc\"}},\n\
             \"github\": {\"env\": {\"GITHUB_PERSONAL_ACCESS_TOKEN\": \"@GITHUB@\"}},\n\
             \"c\": {\"args\": [\"-y\", \"--api-key\", \"@HEX@\", \"--header\", \"x-api-key:@OPENAI@\", \"-e\", \"TOOL_API_KEY=abc\"]}}}",
            &[
                "2 mcpServers.a.headers.Authorization -> tool",
                "3 mcpServers.brave-search.env.API_KEY -> brave",
                "4 mcpServers.github.env.GITHUB_PERSONAL_ACCESS_TOKEN -> github",
                "5 mcpServers.c.args.--api-key -> stays: no key that locum knows",
                "5 mcpServers.c.args.--header.x-api-key -> openai",
                "5 mcpServers.c.args.-e.TOOL_API_KEY -> tool",
            ],
        ),
        (
            "a.json",
            "{\"TOOL_API_KEY\": 12345, \"OTHER_API_KEY\": \"12345\"}",
            &["1 TOOL_API_KEY -> stays: a number, in whose place no text can stand", "1 OTHER_API_KEY -> other"],
        ),
        (
            "a.json",
            "{\"TOOL_API_KEY\": \"ab\\/c\", \"OTHER_API_KEY\": \"\\u0061bc\"}",
            &["1 TOOL_API_KEY -> tool", "1 OTHER_API_KEY -> stays: written with escapes or among others"],
        ),
        (
            "a.json",
            "// TOOL_API_KEY: @HEX@\n{\"TOOL_API_KEY\": \"a1\", \"TOOL_API_KEY\": \"a1\",}",
            &[
                "1 TOOL_API_KEY -> stays: in a comment, a name or a command",
                "2 TOOL_API_KEY -> tool",
                "2 TOOL_API_KEY -> tool",
            ],
        ),
        ("a.json", "{\"TOOL_API_KEY\": \"abc\"", &["1 TOOL_API_KEY -> stays: the file can't be read as what it is"]),
        (
            "a.toml",
            "[x]\nopenai_api_key = \"abc\" # why\n[model_providers.tool]\nhttp_headers = { \"X-Api-Key\" = '''abc''' }\n",
            &["2 x.openai_api_key -> openai", "4 model_providers.tool.http_headers.X-Api-Key -> tool"],
        ),
        (
            "a.toml",
            "[mcp_servers.x]\nargs = [\"--token\", \"@HEX@\"]\n[mcp_servers.x.env]\nTOOL_API_KEY = \"abc\"\n",
            &[
                "2 mcp_servers.x.args.--token -> stays: no key that locum knows",
                "4 mcp_servers.x.env.TOOL_API_KEY -> tool",
            ],
        ),
        (
            "config.json",
            "{\"auths\": {\"https://api.tool.example/v1/\": {\"auth\": \"bWU6YWJj\"}, \"b.example\": {\"auth\": \"bWU6YWJj\"}}}",
            &[
                "1 auths.https://api.tool.example/v1/.auth.password -> tool",
                "1 auths.b.example.auth.password -> stays: no key that locum knows",
            ],
        ),
    ]);
}

#[test]
fn yaml_is_read_in_all_its_ways() {
    check(&[
        (
            "a.yaml",
            "x:\n  - tool_api_key: abc # é\n    openai_api_key: |\n      @OPENAI@\n  - openai_api_key: !env abc\n",
            &["2 x.[0].tool_api_key -> tool", "4 x.[0].openai_api_key -> openai", "5 x.[1].openai_api_key -> openai"],
        ),
        (
            "a.yaml",
            "é: &k abc\na: {TOOL_API_KEY: &a abc, x: y}\nb: {TOOL_API_KEY: *a}\n'TOOL_API_KEY': >-\n  abc\n",
            &["2 a.TOOL_API_KEY -> tool", "5 TOOL_API_KEY -> tool"],
        ),
        ("a.yaml", "TOOL_API_KEY: ~\nOTHER_API_KEY: null\nOPENAI_API_KEY:\n", &[]),
        (
            "compose.yaml",
            "services:\n  a:\n    environment:\n      - TOOL_API_KEY=abc\n      - 'OPENAI_API_KEY=@OPENAI@'\n      - X=${OTHER_API_KEY:-abc}\n  b:\n    environment:\n      TOOL_API_KEY: abc\n      POSTGRES_PASSWORD: postgres\n",
            &[
                "4 services.a.environment.[0].TOOL_API_KEY -> tool",
                "5 services.a.environment.[1].OPENAI_API_KEY -> openai",
                "6 services.a.environment.[2].X.OTHER_API_KEY -> other",
                "9 services.b.environment.TOOL_API_KEY -> tool",
                "10 services.b.environment.POSTGRES_PASSWORD -> stays: no key that locum knows",
            ],
        ),
        (
            "secret.yaml",
            "kind: Secret\ndata:\n  TOOL_API_KEY: YWJjCg==\n  x: eyJhIjogMX0=\nstringData:\n  openai: abc\n---\nkind: Pod\nspec:\n  - env:\n      - name: TOOL_API_KEY\n        value: abc\n      - name: OTHER_API_KEY\n        valueFrom: {secretKeyRef: {name: x, key: OTHER_API_KEY}}\n",
            &[
                "3 data.TOOL_API_KEY -> tool",
                "6 stringData.openai -> openai",
                "12 #2.spec.[0].env.[0].TOOL_API_KEY -> tool",
            ],
        ),
        (
            "litellm.yaml",
            "model_list:\n  - model_name: x\n    litellm_params: {model: groq/llama-3, api_key: abc}\n",
            &["3 model_list.[0].litellm_params.api_key -> groq"],
        ),
        (
            "config",
            "apiVersion: v1\nusers:\n- name: me\n  user:\n    token: abc123def\n    client-key-data: LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t\n",
            &[
                "5 users.[0].user.token -> stays: no key that locum knows",
                "6 users.[0].user.client-key-data -> stays: a private key, which is never sent",
            ],
        ),
    ]);
}

#[test]
fn a_byte_order_mark_moves_nothing() {
    let text = "\u{feff}TOOL_API_KEY=abc";
    let scan = find(Path::new(".env"), text, &SETTINGS.keys);
    assert_eq!(scan.values.iter().map(|v| (&text[v.at.clone()], v.line)).collect::<Vec<_>>(), [("abc", 1)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the text: places are within it, apart, in order; and once they are replaced no key is found.
    #[test]
    fn what_is_replaced_is_found_no_more(
        file in "a\\.(env|json|yaml|toml|ini)|\\.netrc",
        parts in proptest::collection::vec(
            "OPENAI_API_KEY|tool_api_key|machine api.tool.example password |[=: \"'\n\\[\\]]{1,2}|sk-ant-[a-z0-9]{14,20}|[a-z<>#{},é]{1,6}", 0..40)) {
        let text = parts.concat();
        let scan = find(Path::new(&file), &text, &SETTINGS.keys);
        prop_assert!(scan.values.windows(2).all(|pair| pair[0].at.end <= pair[1].at.start));
        let moved = scan.values.iter().filter(|value| matches!(value.verdict, ValueVerdict::Key(_)));
        let new: Vec<_> = moved.map(|value| (value.at.clone(), "<<tool_key>>".to_owned())).collect();
        let after = replaced(&text, &new);
        let left = find(Path::new(&file), &after, &SETTINGS.keys).values;
        prop_assert!(!left.iter().any(|value| matches!(value.verdict, ValueVerdict::Key(_)) && after[value.at.clone()].contains("<<")));
    }
}
