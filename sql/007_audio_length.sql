-- How long the audio is, beside where it lies: the CRM stage may know the one and never the other.

ALTER TABLE call_records ADD COLUMN audio_s FLOAT64;
