using Ublk.Replication.Store;
using Ublk.Testing.Replicas;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Crash;

/// <summary>
/// Losses of power under a replica on real files, some of them one after the other: what was not synced is
/// there, or not, or torn.
/// </summary>
public sealed class PowerLossTests : IDisposable
{
    private const long Size = 4L << 20;
    private const int Seeds = 240;
    private const int Long = 24;

    private readonly string _directory = CrashFiles.NewDirectory();
    private int _losses;
    private int _voided;
    private int _torn;
    private int _lapped;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void WhatWasToldIsThereAndNothingElse()
    {
        for (int seed = 1; seed <= Seeds; seed++)
        {
            try
            {
                Live(seed);
            }
            catch (Exception wrong) when (wrong is CrashException or InvalidOperationException or IOException)
            {
                Assert.Fail($"seed {seed}: {wrong}");
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{_losses} losses, {_voided} voided, {_torn} torn, {_lapped} behind the ring's end");
        Assert.True(_losses > 3 * Seeds && _voided > Seeds && _torn > Seeds / 4 && _lapped > 0);
    }

    // A disk that says it has synced and has not, and the same files under the same judge.
    [Theory]
    [InlineData(FileStep.Metadata, 10)]
    [InlineData(FileStep.Image, 10)]
    [InlineData(FileStep.Checksums, 3)] // Only those of cold grains count.
    public void ADiskThatForgetsWhatWasSyncedIsSeen(FileStep forgotten, int atLeast)
    {
        int seen = 0;
        const int Tries = 20;
        for (int seed = 1; seed <= Tries; seed++)
        {
            var random = new Random(seed);
            string image = Path.Combine(CrashFiles.Fresh(_directory, "here"), "image");
            CrashWorkload.Format(image, Size, hasChecksums: true);
            using var files = new RecordedFiles(image);
            Work(files, BootOf(1), 0, random, 20);
            int at = files.Steps.Count - 1;
            int synced = files.Steps.FindLastIndex(step => step.Step == FileStep.Sync);
            synced = files.Steps.FindLastIndex(synced - 1, step => step.Step == FileStep.Sync);
            int record = files.Steps.FindLastIndex(at - 1, step => step.Step == FileStep.Metadata);
            int last = forgotten == FileStep.Metadata ? record : synced;
            int first = forgotten == FileStep.Metadata ? record : 0;
            for (int step = first; step <= last; step++)
            {
                bool isForgotten = files.Steps[step].Step == forgotten;
                files.Steps[step] = isForgotten ? files.Steps[step] with { Bytes = [] } : files.Steps[step];
            }

            string left = files.LosePower(at, CrashFiles.Fresh(_directory, "there"), random);
            seen += Record.Exception(() => CrashJudge.Check(left, BootOf(2), files.FactsAt(at), false))
                is CrashException ? 1 : 0;
        }

        // A record of the vault, or bytes that were the same before, make no difference.
        Assert.InRange(seen, atLeast, Tries);
    }

    // Several lives, each ended by a loss of power; the next one goes on with what that has left.
    private void Live(int seed)
    {
        var random = new Random(seed);
        string here = CrashFiles.Fresh(_directory, "here"), there = CrashFiles.Fresh(_directory, "there");
        string image = Path.Combine(here, "image");
        CrashWorkload.Format(image, Size, hasChecksums: seed % 2 == 0);
        ulong highest = 0;
        for (int life = 1; life <= 1 + seed % 3; life++)
        {
            using (var files = new RecordedFiles(image))
            {
                int operations = seed % Long == 0 ? 300 : random.Next(5, 50);
                highest = Work(files, BootOf(life), highest, random, operations);
                for (int cut = 0; cut < 2; cut++)
                {
                    int at = random.Next(files.Steps.Count);
                    string left = files.LosePower(at, there, random);
                    CrashFacts facts = files.FactsAt(at);
                    OpenedReplica found = CrashJudge.Check(left, BootOf(life + 1), facts, false);
                    _losses++;
                    _voided += found.MustBeVoided ? 1 : 0;
                    _torn += found.Position.LastRecord == facts.LastRecord &&
                        files.Steps[at].Step == FileStep.Metadata ? 1 : 0;
                    _lapped += found.Position.LastRecord > (ulong)found.Superblock.RingRecords ? 1 : 0;
                }
            }

            foreach (string file in Directory.GetFiles(there))
            {
                File.Move(file, Path.Combine(here, Path.GetFileName(file)), overwrite: true);
            }
        }
    }

    private static ulong Work(
        RecordedFiles files, BootEntry boot, ulong highest, Random random, int operations)
    {
        using var replica = new FileReplica(files, boot, random, files.Lines.Add);
        var work = new CrashWorkload(replica, highest, random, files.Lines.Add);
        work.Run(operations, mayGrow: random.Next(2) == 0);
        return work.Highest;
    }

    private static BootEntry BootOf(int life) => new(new Guid(life, 0, 0, new byte[8]), 5);
}
