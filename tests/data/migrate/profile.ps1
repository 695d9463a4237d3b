$env:OPENAI_API_KEY = "@OPENAI@"
$env:TOOL_API_KEY = '@TOOL@'
$env:PATH = "C:\bin;$env:PATH"
