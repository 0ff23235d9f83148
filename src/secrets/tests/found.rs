//! Made up by lot for this table, each with the rule that has to find it. A bar stands in the middle of each, so that nobody
//! takes this file for a list of keys.

pub(super) const FOUND: &[(&str, &str)] = &[
    ("github-token", r##"token = "ghp_¦2bGqJYr9AIPFyyHx5o¦AT2zwAlD2blf23bc5i""##),
    ("github-token", r##"token = "gho_¦V9jjps13StxXualfhY¦lHUi2X2UoFoW0l2MXS""##),
    ("github-token", r##"token = "ghu_¦AOyGqw9HjQW8TevFIn¦WX6gjuhH6t8K0t2IeR""##),
    ("github-token", r##"token = "ghs_¦h5VAa541tgrci2qIEH¦LSdGF05cK7nn1eesaU""##),
    ("github-token", r##"token = "ghr_¦VzmnYWUoiIBREutG66¦K2wijdI2b4Bg03clYU""##),
    (
        "github-token",
        r##"git clone https://x-access-token:ghp_¦3lZEa4HPI3U3HipzHtb9OPJ4YxJTaf2L¦ID5c@github.com/acme/widgets.git"##,
    ),
    (
        "github-token",
        r##"GITHUB_¦TOKEN=ghs_2Q6AKAyvkaohN9mTSUSZmYnhSJjO81mVuBXvpIqF¦tEWT559qX4Up9bjtujHoH6rzqEvbnbkNSYZJeKZXmR1BqmWX6D"##,
    ),
    (
        "github-fine-grained-token",
        r##"export GH_¦TOKEN=github_pat_eacE829895Zo4TzTqllAwL_gxIjMiApv¦x0jz932S1RHRRUoEYmsH4nePU2Tug0gDFswPtgNyjsYJyt1Wby"##,
    ),
    ("gitlab-token", r##"gl¦pat-735oUqSO¦ZCbx9577hu06"##),
    ("gitlab-token", r##"PRIVATE-TOKEN: gl¦pat-AOzY3bVRdU8jEPGyV0¦5CFZGd4dB.01.0mclrpy6m"##),
    ("gitlab-token", r##"runner token glrt-¦iU6cFPClPc¦eP9McH74UZ"##),
    ("bitbucket-token", r##"AT¦BBrFdRTVUfikBd1G6¦ycuaPpae1l4bFOukX"##),
    (
        "bitbucket-token",
        r##""AT¦ATT3xFfGF05pgf5S2R3IaCL26HuSwvzQF8RAn7fyKgZELIAiBm2VQuJaEucAIp6K7sCJ4vMx3By9t8WByy7IK4dSj8kk67i¦4CLICUibszLbhR8HQUYYyEIu0WLAD4F4FZHMkRcc1bwNUvKqrnc6OxmBpDtzgEaXh0X9me4Ybd9XLdvXp454W=1A2B3C4D""##,
    ),
    ("aws-access-key-id", r##"aws_¦access_key_id = AK¦IA5J3IAOQLJGHXYCYX"##),
    ("aws-access-key-id", r##""AS¦IAPIYL435¦7SHAZGCJK""##),
    ("aws-secret-access-key", r##"aws_¦secret_access_key = 6+DG/YwkzV¦O47ClGBz3jM7fIBn8xKbwkvg+yGH4w"##),
    ("aws-secret-access-key", r##"AWS_¦SECRET_ACCESS_KEY="j4kd9BmVPNQ¦9ZN0twR5I0W4sU/eznSdRHFqITAdz""##),
    ("aws-secret-access-key", r##"  "secretAccessKey": "Ovb¦BGFWU6ISQe7e7y0W5Cv¦NUdajnS6c6xsLag9WR","##),
    ("google-api-key", r##"apiKey: "AI¦zasA9ItpzSRggzmWZ0T¦GYM22pRrQPiaejr7Uh","##),
    ("google-oauth-client-secret", r##""client_¦secret":"GOCSPX-EPvuTE¦72BI_gezAfbDR5rvcW0Xmw""##),
    (
        "google-oauth-access-token",
        r##"Bearer ya29.eCO3FhLiD81qQVG4l5jcCJYtbYy0rPxEUMi71joWcacZgdUOaSFsxFyideiusQXJ2FcJ4M4HD6ODdOvsta6-¦sA6qmD-MHOAAvFILOY¦VaJNY6YhaUu4vfLrjY"##,
    ),
    (
        "azure-storage-key",
        r##"DefaultEndpointsProtocol=https;AccountName=acme;Ac¦countKey=SH3fKASm6GruJkCj/3DUF5NYdKTFqJjYkACAKh6eKXYdA65mtk6aol3¦9mYzeXIzrat/TcU91AHntHIdlomUQ1X==;EndpointSuffix=core.windows.net"##,
    ),
    (
        "azure-shared-access-key",
        r##"Endpoint=sb:/¦/acme.servicebus.windows.net/;SharedAccessKeyName=Root;Sh¦aredAccessKey=QdRh52+KMUNdCc5BUrwhw+VmeC4jFatRsTsI8CpQucv="##,
    ),
    ("azure-client-secret", r##"AZURE_¦CLIENT_SECRET="qaR8Q~CMnSkn¦Dod39c2eVdZXeABtVvwyeZT6SlR""##),
    (
        "azure-devops-token",
        r##"TAvXu4qqY0ygmrK3JgqwXJlkrrt0a1p7FDBy25rCuhFGlc7XpC8MJQQJ99QyrY0fQRBUz1UyPxsTAZ¦DOa¦rSn"##,
    ),
    ("digitalocean-token", r##"dop_¦v1_04e17d542e6f096d19ca9b129cb316¦57abdf71571b51c682929d1956c3838ed1"##),
    ("alibaba-access-key", r##"LT¦AI5tZZ6OAVT¦DJCEdv4xjw7"##),
    (
        "fly-token",
        r##"FLY_¦API_TOKEN="FlyV1 fm2_CMXy/3vdfUxdmpcD0+PoeSd+LktF+25qLjq3bjFVMjCesTYHdjGNTzJbGgmM¦n7VfQkvfhjQPCo5eRVF6sc49ZXdX1+KJp6VRNfgb4etZqlbjv5grx2OqIs5ywOF1hzV98Ya2H65w1QZ8""##,
    ),
    ("openai-key", r##"OPENAI_¦API_KEY=sk-SgI5yFoqK0bGaOTSf3¦Z5T3BlbkFJ5S1lteg3r8l581MqUBpv"##),
    (
        "openai-key",
        r##"sk-proj-IDoXBd1inY1b92w9o22ezLQ-_¦XHFI1OXadkL9HOduixOc_LWoai8fNVkKnZsxtb_ZHvSribHfoT3BlbkFJa2VaX0QM¦ixF6lXISYstLT5tJA9IawnzablxbdbKKu7aQCAh-m6V6V9vNV2uerNINsqtafM1vux"##,
    ),
    (
        "anthropic-key",
        r##"sk-ant-api03-YyLNjXKrG0m4yWWkH8l6po3JQavCrajEd85MNyE7fSTIewT0vSBB6ZDbm2J9QLVPXWBnCqF79xj4j_¦XsNYz_nt¦yQNzmyCAA"##,
    ),
    (
        "anthropic-key",
        r##"CLAUDE_¦CODE_OAUTH_TOKEN=sk-ant-oat01-CxbRy80miAXGfB75Tf9ygYVMf3QGDkBZ¦WrN_uGGbJfN3bfWVfEFl-TbC8eV_uo7rFjBpIK622OOMabH_KDPXekF2weV90AA"##,
    ),
    ("openrouter-key", r##"sk¦-or-v1-72282aa7f8cbd03e4daff52eab60¦fca116af4710f7ed6c03a6aebede2c2d941e"##),
    ("huggingface-token", r##"hf_¦xBAciovFkGOyiaNOd¦AfSDdfyoPeLQwrIpW"##),
    ("groq-key", r##"gsk_¦CVghpclaiBEHsaN7DybI6sxI4F¦KG6xvlSZD4vTKyXIzI5nsSzmOk"##),
    (
        "xai-key",
        r##"xai-¦o6RYbnlSglGKkVPACAYAefJBs8pHXVCxVGSf9TMK¦0iVKNHu56Wo5xkBgEUbHEYkkcXYxziCxRr2Ss0IC"##,
    ),
    ("perplexity-key", r##"pplx-¦ps6csgL4KVYVJO0ZmHVh1wVi¦9BeAbwDBszEgDlJZziAqtpXo"##),
    ("replicate-token", r##"r8_¦Amf8xTXnmqPStiFFbs¦ekm9fDOLMH0w6aSE9yA"##),
    ("stripe-live-key", r##"Stripe("sk_¦live_Ag5WlMO1Vf¦GQAI1FU9u12xhl")"##),
    (
        "stripe-live-key",
        r##"rk_¦live_XWVTX92keXVcB2J27B8jKH2mL8aD8hh86GuTWeQqOiKm4de¦8s1C92OpTSdmZSdy9K4gGtbiJqHkfCyHZO9S8xvd89uBJsXBMoY9"##,
    ),
    ("webhook-signing-secret", r##"whsec_¦UqHcVEjduOwafUxV¦1dmZhIIyISCa06bs"##),
    ("square-token", r##"sq0atp-¦3LjH7jQnQaY¦qdS1kn3KCoG"##),
    ("shopify-token", r##"shpat_¦c3e4461c1ec806a9¦a49868ce071c0260"##),
    ("slack-token", r##"xo¦xb-810555740529-93428726443¦63-8usHJ8HYCCHvlaVb5dTXqlQ3"##),
    ("slack-token", r##"xo¦xp-331079072132-617829917512-32691153¦2634-add4f0c5b4aafa8f0ca332d79387ebd4"##),
    (
        "slack-app-token",
        r##"xapp-¦1-A3JUHOBHALJ-3512905689407-3e5e5e22eb9278a82a¦c93ab5d38ac764506c8ecfb53104e3223db1540b97f508"##,
    ),
    (
        "slack-webhook",
        r##"https:/¦/hooks.slack.com/services/TTY4BE0F5/¦BAE2XNUKAEC/b2J2YG5nIJ7tEJjllVi8G7S5"##,
    ),
    (
        "discord-webhook",
        r##"https://discord.com/api/webhooks/742214903329519286/vWymZAuxuCWQDXVKKeK1fil4VtMkcjw2cSaeock5_¦ODCxJLN-8QvCD¦p9T2ok5QSop1uZ"##,
    ),
    (
        "discord-bot-token",
        r##"DISCORD_¦TOKEN="MTwFmILS0i8ULFAUB5PpU9XGGA.BdRp2P¦.KIyYigIWBdmEqa_3GLk_h_1EtvY04mT7d-N2io""##,
    ),
    ("telegram-bot-token", r##"bot = Bot('8782754461:A¦AUe7JybZ4mOPBzurAm¦CYrZj26QEgDCYukX')"##),
    ("twilio-secret", r##"TWILIO_¦AUTH_TOKEN=c304661584¦263947d19076a0076c050c"##),
    ("sendgrid-key", r##"SG¦.F4FfeV3qBiLI-sAXJnTOQj.PzCsCN5w4¦OQTVlCRbWTHmNuH5Lva9fLJ6huCwKyhhWe"##),
    ("mailgun-key", r##"MAILGUN_¦API_KEY=key-2b2457f7e2¦a86cdd5f9038a755017592"##),
    ("mailchimp-key", r##"mailchimp_¦api_key: 608df4fef267ba¦a018386b75e37e6b92-us14"##),
    (
        "brevo-key",
        r##"xkeysib-¦6e72e9c0aa554613697f1013b7e100f0fa2f165a¦950c71f54d97e2c8463d7405-zG31LQU58gSkmLYL"##,
    ),
    ("resend-key", r##"re_¦foHEupCS_I7oLXzQ¦rEJa5qfY12nlR5PFD"##),
    ("npm-token", r##"//registry.npmjs.org/:_¦authToken=npm_a7tZIl03pGL¦L44FJHCUN5pV3VqDN4I2xp8bT"##),
    (
        "pypi-token",
        r##"password = pypi-AgEIcHlwaS5vcmcGXWwim4j_¦mP2yxpIN2tji8WTnmyuERr38qUFt5U8YAoiNd01goRqmwwFWZVqo_8AAAXP--KlFB¦FvB47uQ7kY3IgMyqn3sNjMithJe11pWfXNIgzIn_OPltAacimYeK7kf5lCHvVsJ-os"##,
    ),
    ("rubygems-key", r##":rubygems_¦api_key: rubygems_0c11e56aff79623¦dfbf0348d51ca84b2407be00d2c9c292c"##),
    ("crates-io-token", r##"token = "ci¦oEAQzIyWloi5wcUlX¦dJItGtPJhzncfoyy""##),
    ("nuget-key", r##"oy¦22wye71uyoxp27klkuikv9¦n9z79y1smz3r6lcmqhtm9p"##),
    ("docker-token", r##"docker login -u acme -p dckr_¦pat_1MWAcSIhTXW¦SohKt_tku5GeSXqK"##),
    (
        "vault-token",
        r##"VAULT_¦TOKEN=hvs.lXrBCk1D1tI7ZPU2U2oXz8OLAtGRjv8kA0Vf0kFwGq¦nuNsaCNgKZc1hoYzoBZ6ptAdKfh8KV2k3s8YntaJkTeTj5cjGGUNP"##,
    ),
    (
        "terraform-token",
        r##"token = "oiwcF8OYZOGVRD.at¦lasv1.wSNtPtvYoOEW-Bt1MwqpezCByyrLzRK¦RiQvirLvYLMFXw3yep0s83T2BWSyGylhdWCN""##,
    ),
    ("grafana-token", r##"glsa_¦nsmsDDhyngbMHvfBFDwd¦i3kSlkxfXD6j_11807dc1"##),
    ("new-relic-key", r##"NRAK-¦FVRHKAKCZ23NI¦2AFPQD2LNNCFBR"##),
    ("sentry-token", r##"sntryu_¦cd6eb06a92fb1c53ad7cf2b03e94060c¦62c827b21db79d9850840521174933e8"##),
    ("databricks-token", r##"da¦pi35aa6e347c5cd79¦14c514a8fc9b3e554"##),
    ("doppler-token", r##"dp¦.pt.XG4OuZCdYAXEqO2S5gm¦nqyPeiDUcJ8Q34ikZKPdtiu6"##),
    ("pulumi-token", r##"pul-¦c0df3d4e66386aa70024¦3511fea74bff75bf80fa"##),
    ("supabase-token", r##"sbp_¦1eda7acd00ba5a97a68d¦8454aca22fb5bf6c345b"##),
    ("planetscale-token", r##"pscale_¦pw_Y6sArxsW_TZ21SpkRJha¦9RcVe0uDa0QXzdn1yMl4x2n"##),
    ("tailscale-key", r##"tskey-¦auth-k5CRdDi3MWDnCNTRL-MD07¦BAOgZbhIAUWBEyR3l1xyXesFqYDw"##),
    (
        "cloudflare-origin-ca-key",
        r##"v1.0-¦3459aeed9ae5fb1628ebf613-1b3451bb826dc2c203a017a9dc2e0e9530de644122af2abaef729a44ed29¦4af2b5e5f75faa5a03dfde16d3a8850b6c90c48ba7c69be93a1b4f7c7e0d21673f7c851012dc63bf6586af"##,
    ),
    ("postman-key", r##"PMAK-¦94aaf24833e19802eb3e5af3-b0a2¦d12732d762409e58a1fee565ef5ee8"##),
    ("linear-key", r##"lin_¦api_RNRqhxN3Juvkv6PAX3¦mrzAbG80lFneqkQNow2mZZ"##),
    ("notion-token", r##"ntn_¦38414884506ihXI6neqjy7B¦OmIzPn3xaBYeQoC1ZlLdI83"##),
    ("figma-token", r##"figd_¦o9pboZ4yLJ3W7hm5qEWZ¦ugI5gtKZAzLw3eZT4a_d"##),
    ("age-secret-key", r##"AGE-¦SECRET-KEY-1FA23WUQUPTFP0NU7GQCT3TS¦8VSLJDMQV5KDVUJRFWC9CM2NDCCN0XXP023"##),
    (
        "private-key",
        r##"--¦---BEGIN RSA PRIVATE KEY-----
3grg/7McX7UL6Ubv2HDYGwAekBUNTf/SSpa3C/vpCAoWNtZR43w5cwqly5+Xbkpf
4Bm3TsWPVNE1z+gzJZ4ag6Iov4dJL6/m¦fulPKUPVL4PuF8hdpAEDAPzDhArdEltg
ytUGmGznK7DLKv2eNz/DAYFk0tmh7X0pWfG8zXb9+iYRYnPeLL6DkoPwJtnbSLIH
-----END RSA PRIVATE KEY-----"##,
    ),
    (
        "private-key",
        r##"--¦---BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
WvYMW/R5n59KE/XCMJ+fwV0XmAd0HmYnfJ2lCLyl557tQp+Iu26/oZonxqefR¦lGu
Dil7Jz9nzDj5rE38kuE1Hx2urcTvUNxrY3JDI3KN0i2CroURZPxYLA6Msmz72soo
SH9pj8/YijQ4IQ4m9mn0rmm28qoVO8nKpsFfbhWsK0I4/6s/RAIWXw9gFkpZps4Q
-----END OPENSSH PRIVATE KEY-----"##,
    ),
    (
        "private-key",
        r##"--¦---BEGIN EC PRIVATE KEY-----
8I+kKethuE9cJYFlRKntMa+CPmgh4YPYLAqwpfRHEdjk4MjErmOqL1lqh296EV3L
cM+v/B/VVFeY/viEgyZYWfzYTDbhO/mw¦0Q9ef+S9paHRxeVu2BzoHS8ITtv76Kgs
+NkgsVPFt7JBlIO2WLTY0hgsbDhLuAY8KBLSs7uFZX66N+j0OIlURQEKnUW1c827
-----END EC PRIVATE KEY-----"##,
    ),
    (
        "private-key",
        r##"--¦---BEGIN ENCRYPTED PRIVATE KEY-----
bEVfRgFWp2w1o33R4DCCBFCqcCUcz5kV4gGJOJVimP7S2xwjbzeccPQogrfB3cLy
komI9xJ+Ludj/BCll1HxnypnDet8c8Dg¦N4XkHoXFxYlsibQaZJTHhVKiVtyf+S/T
fFlI31+kou41JzKwd/Mixwy6D9PM5ZfvR5s8e8o3RzmonjYpSLzmTQ8zBJ5im0yR
-----END ENCRYPTED PRIVATE KEY-----"##,
    ),
    (
        "private-key",
        r##"  "private_¦key": "-----BEGIN PRIVATE KEY-----\nDIF2mUkbRlxHUEhjnGy/mql0WQ/jhhuu0LLFJ+R5nH6JhY1X92GqEp4KtGrSAsKo\nRXKwYPYp4sxQlvXq1GgVWuRO9+gu¦aGjMFH2aVZndhhuyuEA4U5KpCrVQjrPFgmO9\nCe5QdU4CVW/FDiusyCH9vhVjHDv1RVE/6q5oHFpLKlug5kOJYKqbA0BCErwqm9Hc\n-----END PRIVATE KEY-----","##,
    ),
    (
        "private-key",
        r##"key = '''--¦---BEGIN DSA PRIVATE KEY-----
    y7v0Dnwg5/1Otab1sbIVXKQMdjxNU9v3WfXpfKbCsUQb14TxCCsXkE8G4Lk3MEsu
    sBM6OOUALxE+KNKTWBHWcmM69+fb7czd+¦jmTK9J4jq4A+5Y9/8HY0m3VssHZYW2G
    P2TeP+Wydj4fFRwcgzlK/HOsC62PRmNV9To5ZoExCUXBJAl2uO8UvGEx+9LvQtdQ
    -----END DSA PRIVATE KEY-----'''"##,
    ),
    (
        "private-key",
        r##"--¦---BEGIN RSA PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,VQPK5D1ACPJ8¦NY4V8R9BNJMDBYZPTLMO

jwbnOf51xr22U5dF1QLwmRpQFWq0436sZHTHBKkqaRXiKNnozucXj6zqSxhlsSHU
"##,
    ),
    (
        "private-key",
        r##"--¦---BEGIN PGP PRIVATE KEY BLOCK-----
Version: GnuPG v2

gCTsp¦OVdXN3K/+tSLIMjfgFP1dn4t4QVNkW1sx5RgXclYbuIpFIwPyOGcJiPyx0e
"##,
    ),
    (
        "private-key",
        r##""--¦---BEGIN PRIVATE KEY-----\n" +
  "sIkIqpMrFMLFGlSD3¦Xqiln7Y1TFIJ8yEn+tWUyTxLUYIlW84K2qg97Gvna9tm6IY\n" +"##,
    ),
    (
        "json-web-token",
        r##"Authorization: Bearer ey¦JhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJiaWxsaW5nIiwic3ViIjoiYjROc1lEM0Np¦OVhGIiwicm9sZSI6InNlcnZpY2Vfcm9sZSJ9.rHIDRXNiJIOCgCzlLPevfxHzuLInNb58Zk8uc3JJkjQ"##,
    ),
    (
        "json-web-token",
        r##"const SERVICE_¦TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJiaWxsaW5nIiwic3ViIjoiMVlENTR6¦OWVYOW1OIiwicm9sZSI6InNlcnZpY2Vfcm9sZSJ9.hyQiyplTHYOrSwN3d4L3mHM1CruIPLfwqQGtmNVsb9Z";"##,
    ),
    ("database-url", r##"DATABASE_¦URL=postgres://app:k3Xv9QpLm¦Z7r@db.prod.acme.io:5432/app"##),
    ("database-url", r##""mongodb+srv:/¦/svc:T7h-q2Vw9xZb@cluste¦r0.ab12c.mongodb.net/app""##),
    ("database-url", r##"redis:/¦/:pR4vT9mK2xQz7LwB@¦cache.acme.io:6380/0"##),
    ("database-url", r##"postgresql+asyncpg:/¦/app:wZ8rQ2nX5k¦Tb@10.2.3.4/app"##),
    (
        "offshoot-token",
        r##"OFFSHOOT_TOKEN=of¦s_xk3deg0dqcf5_4esf5dhrd3drcjv4khwn¦gp0gedq95x770wsnsfw9y6veh4myk94c"##,
    ),
    ("http-address-password", r##"index-url = https:/¦/ada:FOcVwWBhqG5KSFdPE0SPgjtH@pypi.corp.io/simple"##),
    (
        "http-address-password",
        r##"git clone https:/¦/oauth2:fb1F6w70WAKadYEjW1W5bSapfQ7Dh3yE@gitlab.acme.io/acme/widgets.git"##,
    ),
    ("netrc-password", r##"mach¦ine api.acme.io login ada password g42ipqnX1fkkjbd9"##),
    (
        "netrc-password",
        r##"mach¦ine api.acme.io
  login ada
  password 3oQGXy9KTUMAFGrM"##,
    ),
    ("npm-login", r##"//npm.corp.io/:_auth¦Token=3fd989e6-0f21-0402-362d-53c9efc6d892"##),
    ("npm-login", r##"//npm.corp.io/:_auth¦Token="2Huu6mXrxWUREVXXPHzGIz3qyV4J1TQt7frRgjix""##),
    ("basic-login", r##"_au¦th=YWRhOjdZU2RuNjBMTkpNUkxk"##),
    ("basic-login", r##""registry.acme.io": { "au¦th": "YWRhOkhiMlU5TGhPUzBpcllrUHZkUg==" }"##),
    (
        "basic-login",
        r##"curl -H 'Authori¦zation: Basic c3ZjOkhVTkw5eWY0U3RmeERQTlYyYWRD' https://api.acme.io/"##,
    ),
    (
        "bearer-token",
        r##"curl -H 'Authori¦zation: Bearer V1jFzYI20eBahcyXic6YOZq0M7qO60lI5QfecJUy' https://api.acme.io/"##,
    ),
    ("bearer-token", r##""Authori¦zation": "Bearer jw9APP8Dy_3XzZmBNQR2yTBGTCuSsH5LM-Em9iJLwbL132Zn","##),
    (
        "encoded-token",
        r##"  api-key: c2stYW¦50LWFwaTAzLUkzZnNqQjJXN1ZxenhEVEJiVHM0Vjh1M3NpVExzS0NpNTFnWExibkdPUjAyOEJ4SUlHcUE5QVBISmVIUjllMWJqSTlpSDBQR3VJT09VR1draVVOUTJYTWhybjB3V0FB"##,
    ),
    ("encoded-token", r##"  token: "Z2hwX2¦pOVWd0eG1UbFZhRW5yWW45OTZQamQzMFJuZ25FMFpBM1F5RA==""##),
    ("encoded-token", r##"data: {"aws": "QUtJQV¦FDR043S1VEUkNSRVZTNTM="}"##),
    ("encoded-token", r##"  stripe: c2tfbG¦l2ZV9OaEtyQk44cnFQYmIxck9uNkdqYkY0YmcK"##),
    (
        "encoded-token",
        r##"  slack: eG94Yi¦04NTIyODc4MzQyNS03Njk2NjEyNjU4NjEtb2FJRWRobUtKeHg0MjhEWkgyVmxUaHVB"##,
    ),
    (
        "encoded-private-key",
        r##"    client-key-data: LS0tLS1¦CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpQZE9TekFMUXNrRGZsVzVUQmpHRE1xejdrRDJ5K25BeGFnV1QwaSt5amZBY3ZYUWR2TS9WU2lPbjZubm9xUHJ6ClhURFNqdTQvN1AvalVvQ2NqQ2JoUERDZVBTV1EzRTZPQWxGeW9ha3lQNmt5bmlpQUZnQ2ZBSTNzNHRtNkxhcEgKNGdaQ0I1RnUzdFZQZXduMURqcEZmeHkvTkN6cFFOM0srd3c0MERWLzlEQ0RZOStCci9ocS94QUY4TlV6T1hoagpDdFhRTHFkMzNGU1BxVXhTWStvSEhqZVZVUlpyaGcyTnhDTmF4K3lQcGtMd0pMS0lYT283ZUVkVGVUUXkwTUE1Ci9IVVNNV1R2WmhKWEVya1VMN05yMkRuWk96T1RzWDJ5MXZ4aWozemdzZVkrUFFsd1dQQm1tRXh5U3JSaE1PdUoKc0ZHSUU2QnBqeGxxbk9qV1pOZ296WERnYWZ0ZzJoZTFadU5jdmVJTlNEYjhBRDYrT3pveFZNYlhpTm44ejNjVwotLS0tLUVORCBSU0EgUFJJVkFURSBLRVktLS0tLQo="##,
    ),
    (
        "encoded-private-key",
        r##"tls.key: LS0tLS1¦CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0tClBkT1N6QUxRc2tEZmxXNVRCakdETXF6N2tEMnkrbkF4YWdXVDBpK3lqZkFjdlhRZHZNL1ZTaU9uNm5ub3FQcnoKWFREU2p1NC83UC9qVW9DY2pDYmhQRENlUFNXUTNFNk9BbEZ5b2FreVA2a3luaWlBRmdDZkFJM3M0dG02TGFwSAo0Z1pDQjVGdTN0VlBld24xRGpwRmZ4eS9OQ3pwUU4zSyt3dzQwRFYvOURDRFk5K0JyL2hxL3hBRjhOVXpPWGhqCkN0WFFMcWQzM0ZTUHFVeFNZK29ISGplVlVSWnJoZzJOeENOYXgreVBwa0x3SkxLSVhPbzdlRWRUZVRReTBNQTUKL0hVU01XVHZaaEpYRXJrVUw3TnIyRG5aT3pPVHNYMnkxdnhpajN6Z3NlWStQUWx3V1BCbW1FeHlTclJoTU91SgpzRkdJRTZCcGp4bHFuT2pXWk5nb3pYRGdhZnRnMmhlMVp1TmN2ZUlOU0RiOEFENitPem94Vk1iWGlObjh6M2NXCi0tLS0tRU5EIEVDIFBSSVZBVEUgS0VZLS0tLS0K"##,
    ),
    (
        "putty-private-key",
        r##"PuTTY-User-Key-¦File-3: ssh-ed25519
Encryption: none
Comment: ada@laptop
Public-Lines: 2
RCZ3IwEF6y5kyy3JBNWqb9Mt8sCG3CRKbKeyv6xQrM3hwwjhCS6jkdFKsvw8f46Q
qXYilvBSbELgGOBomUOLc877
Private-Lines: 1
9n2cldhT+7JZjyUDevwBJSMglyU59Fo95X07mVvp/DKOHQ9UODdfdFd2lA2D+FNQ
Private-MAC: 73aff5cfd4501150bf8e28d3e14be535893b80598e7d8a50f510dc6c4393a96e"##,
    ),
    ("heroku-key", r##"HEROKU_¦API_KEY=78c34030-49d3-e847-4f2a-7dccc06616cd"##),
    ("cloudflare-key", r##"CLOUDFLARE_¦API_TOKEN="omtTtvM5riija1IYLsD6c060ZGUfpDNhmMLm43B3""##),
    ("cloudflare-key", r##"cloudflare_¦api_key: a209da99098b260ff3ac1c97570cf1dcb9210"##),
    ("datadog-key", r##"DD_¦API_KEY=7c907cbeac0ddd60132f96aa87e5a4bb"##),
    ("datadog-key", r##"datadog_¦app_key: "15d4dcc513d4654c340b67c01ffff3195f80135f""##),
    (
        "teams-webhook",
        r##"https://acme.webhook.¦office.com/webhookb2/3b92c074-23fb-388d-fa93-ee3419300aed@2e779eda-3145-54f6-25b6-5a91d1cbb537/IncomingWebhook/1bd6a2ba11015b11f5c9538f28f41ec3/6f2e5fa8-b4ec-fe5d-c94f-a78e5fa039c7"##,
    ),
    (
        "vault-token",
        r##"Authori¦zation: Bearer hvs.CAESI5ASCnTVeHhkFptyyNMxQa7LDWcDQ6ni8LTJGwsxQceWQJLmtLaciEjI0S2xiBIev4Noyx2jed2AMaK7Jhw0YawgXDpx6Vpv"##,
    ),
    ("grafana-token", r##"Authori¦zation: Bearer glsa_k8rYmgEcPcnVOzpT5P06ka4qc9xu85y5_044a28b2"##),
    (
        "pypi-token",
        r##"https://ada:pypi-Ag¦EIcHlwaS5vcmcqZKB7rbPEcQDEN96kzobSgtdutrQpSZ9sojMuQEabfxEqIKHjoLWNDcbGyjGgf3qGE3Ico@upload.acme.io/"##,
    ),
    (
        "digitalocean-token",
        r##"git clone https://oauth2:dop_¦v1_30d6801c6f1d40d6c97dca32616894033f5f48092d085bae14c0473ec385050c@git.acme.io/a/b"##,
    ),
    ("http-address-password", r##"https://ada:xo¦xo7Lq9Zt2W@pypi.corp.io/simple"##),
    ("http-address-password", r##"https://ada:sk¦-7Lq9Zt2Wm4@pypi.corp.io/simple"##),
    ("bearer-token", r##"Authori¦zation: Bearer eyJrIjoiJoqaGcFJIDSZntXHnQMWRRCxWvjb5b6bXfwS2oLKuuOowLs7Q"##),
];
