-- As at schema 11, and what each step has used, with sums by day and label.
UPDATE steps SET session = '5e551044-0000-4000-8000-000000000000', usage =
    '{"input":10,"output":20,"cache_read":0,"cache_write":0,"cost_micro_usd":210000,"turns":3,"duration_ms":900}' WHERE job = 1;
INSERT INTO usage_days VALUES (0, 1, 1, 0, 10, 20, 0, 0, 210000, 3, 900);
INSERT INTO usage_labels VALUES (0, 1, '', 1, 0, 10, 20, 0, 0, 210000, 3, 900);
