import os
OPENAI_API_KEY = "@OPENAI@"
CLIENTS = {
    "groq_api_key": "@GROQ@",
    "timeout": 30,
}
DB_PASSWORD = os.environ["DB_PASSWORD"]
