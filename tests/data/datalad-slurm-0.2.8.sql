PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE open_jobs (
    slurm_job_id INTEGER,
    message TEXT,
    chain TEXT CHECK (json_valid(chain)),
    cmd TEXT,
    dsid TEXT,
    inputs TEXT CHECK (json_valid(inputs)),
    extra_inputs TEXT CHECK (json_valid(extra_inputs)),
    outputs TEXT CHECK (json_valid(outputs)),
    slurm_outputs TEXT CHECK (json_valid(slurm_outputs)),
    pwd TEXT,
    alt_dir TEXT
    );
INSERT INTO open_jobs VALUES(54,'first of the peer''s','[]','sbatch job.sh a.txt','50bb3c99-6112-4349-b058-5ed284ec7bbf','["in.csv"]','[]','["sub/out"]','["slurm-54.out", "slurm-job-54.env.json"]','sub','');
INSERT INTO open_jobs VALUES(55,NULL,'[]','sbatch --hold --array=1-3 --wrap ''mkdir -p arr; echo $SLURM_ARRAY_TASK_ID > arr/$SLURM_ARRAY_TASK_ID''','50bb3c99-6112-4349-b058-5ed284ec7bbf','[]','[]','["./arr"]','["slurm-55_1.out", "slurm-55_2.out", "slurm-55_3.out", "slurm-job-55.env.json"]','.','');
INSERT INTO open_jobs VALUES(56,NULL,'[]','sbatch --hold --wrap ''echo x > altout''','50bb3c99-6112-4349-b058-5ed284ec7bbf','[]','[]','["./altout"]','["slurm-56.out", "slurm-job-56.env.json"]','.','/scratch/me/alt');
CREATE TABLE locked_prefixes (
    slurm_job_id INTEGER,
    prefix TEXT );
INSERT INTO locked_prefixes VALUES(54,'sub');
INSERT INTO locked_prefixes VALUES(55,'.');
INSERT INTO locked_prefixes VALUES(56,'.');
CREATE TABLE locked_names (
    slurm_job_id INTEGER,
    name TEXT );
INSERT INTO locked_names VALUES(54,'sub/out');
INSERT INTO locked_names VALUES(55,'./arr');
INSERT INTO locked_names VALUES(56,'./altout');
COMMIT;
