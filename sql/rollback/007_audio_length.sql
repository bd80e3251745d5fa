ALTER TABLE call_records DROP COLUMN audio_s;
