using Ublk.Replication.Store;

namespace Ublk.Testing.Replicas;


/// <summary>A step as it was recorded.</summary>
/// <param name="Step">What.</param>
/// <param name="OffsetBytes">Where; of a growth the new length.</param>
/// <param name="Bytes">What was written; empty with others.</param>
/// <param name="LinesBefore">Lines of the report that were told before it began.</param>
public sealed record RecordedStep(FileStep Step, long OffsetBytes, byte[] Bytes, int LinesBefore);

/// <summary>
/// Files that remember every write and every sync, so that a loss of power can be played at any of them:
/// what was not synced is there, or not, or in some of its sectors, as chance wants it.
/// </summary>
public sealed class RecordedFiles : ReplicaFiles
{
    private const int SectorBytes = SectorStamps.SectorBytes;

    private readonly byte[] _imageBefore;
    private readonly byte[] _metadataBefore;
    private readonly byte[] _checksumsBefore;

    /// <summary>Opens the files; what they hold now is taken as durable.</summary>
    /// <param name="image">Path of the image.</param>
    public RecordedFiles(string image) : base(image)
    {
        _imageBefore = UnlockedFile.ReadAll(image);
        _metadataBefore = UnlockedFile.ReadAll(ReplicaFormat.MetadataPath(image));
        _checksumsBefore = HasChecksums ? UnlockedFile.ReadAll(ChecksumFile.PathOf(image)) : [];
    }

    /// <summary>Everything that was done.</summary>
    public List<RecordedStep> Steps { get; } = [];

    /// <summary>What was reported.</summary>
    public List<string> Lines { get; } = [];

    /// <inheritdoc/>
    public override int WriteMetadata(long offsetBytes, ReadOnlySpan<byte> record)
    {
        Add(FileStep.Metadata, offsetBytes, record.ToArray());
        return base.WriteMetadata(offsetBytes, record);
    }

    /// <inheritdoc/>
    public override int WriteImage(long offsetBytes, ReadOnlySpan<byte> bytes)
    {
        Add(FileStep.Image, offsetBytes, bytes.ToArray());
        return base.WriteImage(offsetBytes, bytes);
    }

    /// <inheritdoc/>
    public override int ZeroImage(long offsetBytes, long lengthBytes)
    {
        Add(FileStep.Image, offsetBytes, new byte[lengthBytes]);
        return base.ZeroImage(offsetBytes, lengthBytes);
    }

    /// <inheritdoc/>
    public override int SyncImage()
    {
        Add(FileStep.Sync, 0, []);
        return base.SyncImage();
    }

    /// <inheritdoc/>
    public override int WriteChecksums(long offsetBytes, ReadOnlySpan<byte> page)
    {
        Add(FileStep.Checksums, offsetBytes, page.ToArray());
        return base.WriteChecksums(offsetBytes, page);
    }

    /// <inheritdoc/>
    public override int SyncChecksums()
    {
        Add(FileStep.ChecksumSync, 0, []);
        return base.SyncChecksums();
    }

    /// <inheritdoc/>
    public override int Grow(ReplicaLiveFile live, long sizeBytes)
    {
        Add(FileStep.Grow, sizeBytes, []);
        return base.Grow(live, sizeBytes);
    }

    /// <summary>Cuts the power while a step is under way, and leaves what the disk has then.</summary>
    /// <param name="at">The step.</param>
    /// <param name="directory">Where the files go, under their names.</param>
    /// <param name="random">Decides what of the unsynced arrives.</param>
    /// <returns>Path of the image.</returns>
    public string LosePower(int at, string directory, Random random)
    {
        byte[] image = After(at, random, _imageBefore, FileStep.Image, FileStep.Sync);
        byte[] metadata = (byte[])_metadataBefore.Clone();
        for (int i = 0; i <= at; i++)
        {
            RecordedStep step = Steps[i];
            if (step.Step == FileStep.Metadata)
            {
                Land(metadata, step, i < at ? 1000 : random.Next(4) * 333, random);
            }
        }

        string path = System.IO.Path.Combine(directory, System.IO.Path.GetFileName(Path));
        Put(path, image);
        Put(ReplicaFormat.MetadataPath(path), metadata);
        if (HasChecksums)
        {
            Put(ChecksumFile.PathOf(path), After(
                at, random, _checksumsBefore, FileStep.Checksums, FileStep.ChecksumSync));
        }

        LeaveLivePage(ReplicaFormat.LivePath(path), random);
        return path;
    }

    // Another file each time: a process that is just being forked holds the locks of this one for a moment.
    private static void Put(string path, byte[] bytes)
    {
        File.Delete(path);
        File.WriteAllBytes(path, bytes);
    }

    /// <summary>What was told before a step, and what came later.</summary>
    /// <param name="at">The step.</param>
    public CrashFacts FactsAt(int at)
    {
        var facts = new CrashFacts();
        for (int line = 0; line < Lines.Count; line++)
        {
            facts.Add(Lines[line], line < Steps[at].LinesBefore);
        }

        return facts;
    }

    private static void Land(byte[] file, RecordedStep step, int permille, Random random)
    {
        for (int at = 0; at < step.Bytes.Length; at += SectorBytes)
        {
            if (random.Next(1000) < permille)
            {
                step.Bytes.AsSpan(at, SectorBytes).CopyTo(file.AsSpan((int)step.OffsetBytes + at));
            }
        }
    }

    private byte[] After(int at, Random random, byte[] before, FileStep write, FileStep sync)
    {
        // The sync under way may have done all of its work, or nothing.
        bool IsSync(RecordedStep step) => step.Step == sync || step.Step == FileStep.Grow;
        int synced = Steps.FindLastIndex(at, IsSync);
        synced = synced == at && random.Next(2) == 0
            ? Steps.FindLastIndex(Math.Max(0, at - 1), IsSync) : synced;
        byte[] file = (byte[])before.Clone();
        int permille = random.Next(4) * 333 + 1;
        for (int i = 0; i <= at; i++)
        {
            RecordedStep step = Steps[i];
            if (step.Step == FileStep.Grow && i <= synced)
            {
                long length = write == FileStep.Image
                    ? step.OffsetBytes : ChecksumFile.LengthOf(step.OffsetBytes);
                Array.Resize(ref file, (int)Math.Max(file.Length, length));
            }
            else if (step.Step == write)
            {
                Land(file, step, i < synced ? 1000 : permille, random);
            }
        }

        return file;
    }

    // Of another boot it means nothing, whatever it is.
    private void LeaveLivePage(string path, Random random)
    {
        File.Delete(path);
        byte[] live = UnlockedFile.ReadAll(ReplicaFormat.LivePath(Path));
        switch (random.Next(4))
        {
            case 0:
                return;
            case 1:
                Array.Clear(live);
                break;
            case 2:
                Array.Resize(ref live, random.Next(live.Length));
                break;
            default:
                for (int at = 0; at < live.Length; at += 4096)
                {
                    if (random.Next(2) == 0)
                    {
                        live.AsSpan(at, 4096).Clear();
                    }
                }

                break;
        }

        File.WriteAllBytes(path, live);
    }

    private void Add(FileStep step, long offset, byte[] bytes) =>
        Steps.Add(new RecordedStep(step, offset, bytes, Lines.Count));
}
