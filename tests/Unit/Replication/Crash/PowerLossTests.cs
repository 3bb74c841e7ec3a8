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
    private const int Seeds = 200;

    private readonly string _directory = CrashFiles.NewDirectory();

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void WhatWasToldIsThereAndNothingElse()
    {
        int losses = 0, voided = 0, torn = 0;
        for (int seed = 1; seed <= Seeds; seed++)
        {
            try
            {
                (int more, int moreVoided, int moreTorn) = Live(seed);
                losses += more;
                voided += moreVoided;
                torn += moreTorn;
            }
            catch (Exception wrong) when (wrong is CrashException or InvalidOperationException or IOException)
            {
                Assert.Fail($"seed {seed}: {wrong}");
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{losses} losses, {voided} voided, {torn} torn");
        Assert.True(losses > 3 * Seeds && voided > Seeds && torn > Seeds / 4);
    }

    // Several lives, each ended by a loss of power; the next one goes on with what that has left.
    private (int Losses, int Voided, int Torn) Live(int seed)
    {
        var random = new Random(seed);
        string here = CrashFiles.Fresh(_directory, "here"), there = CrashFiles.Fresh(_directory, "there");
        string image = Path.Combine(here, "image");
        CrashWorkload.Format(image, Size);
        int losses = 0, voided = 0, torn = 0;
        ulong highest = 0;
        for (int life = 1; life <= 3; life++)
        {
            BootEntry boot = BootOf(life);
            var files = new RecordedFiles(image);
            using (var replica = new FileReplica(files, boot, random, files.Lines.Add))
            {
                var work = new CrashWorkload(replica, highest, random, files.Lines.Add);
                work.Run(random.Next(5, 60), mayGrow: random.Next(2) == 0);
                highest = work.Highest;
                for (int cut = 0; cut < 3; cut++)
                {
                    int at = random.Next(files.Steps.Count);
                    string left = files.LosePower(at, there, random);
                    OpenedReplica found = CrashJudge.Check(left, BootOf(life + 1), files.FactsAt(at), false);
                    losses++;
                    voided += found.MustBeVoided ? 1 : 0;
                    torn += found.Position.LastRecord == files.FactsAt(at).LastRecord &&
                        files.Steps[at].Step == FileStep.Metadata ? 1 : 0;
                }
            }

            foreach (string file in Directory.GetFiles(here))
            {
                File.Delete(file);
            }

            foreach (string file in Directory.GetFiles(there))
            {
                File.Move(file, Path.Combine(here, Path.GetFileName(file)));
            }
        }

        return (losses, voided, torn);
    }

    private static BootEntry BootOf(int life) => new(new Guid(life, 0, 0, new byte[8]), 5);
}
