using Ublk.Testing.Replicas;
using Ublk.Tests.Guest;

// A replica that is to lose its power, and what judges its files then; see tests/Vm/scenarios/power-cut.sh.
if (args.Length > 1 && args[0] is ("crash-work" or "crash-check"))
{
    return args[0] == "crash-work" ? CrashChild.Run(args[1..]) : CrashChild.Check(args[1..]);
}

(string Name, Func<Task> Run)[] cases =
[
    ("target errors reach the client with the right number", ErrorCases.TargetErrorsAsync),
    ("a request that cannot be registered is copied", RegistrationCases.FallbackAsync),
    ("without fallback it fails and the tag works on", RegistrationCases.NoFallbackAsync),
    ("a table that is full is copied around", RegistrationCases.TableExhaustedAsync),
    ("a foreign thread's commit is refused, the owner's works", ThreadCases.WrongThreadAsync),
    ("a request is given up while the target holds it", TimeoutCases.HeldRequestAsync),
    ("a request is given up while its pages are in use", TimeoutCases.PagesInUseAsync),
    ("stop waits for a request in hand, busy is refused", LifeCycleCases.StopWhileBusyAsync),
    ("a driver that does not answer hangs nobody", LifeCycleCases.StuckStartAsync),
    ("foreign, dead and live devices are not taken over", LifeCycleCases.NoTakeOverAsync),
    ("two devices share one ring, one goes", LifeCycleCases.SharedRingAsync),
    ("the same process takes over after its loop is gone", LifeCycleCases.SameProcessAsync),
];

int failed = 0;
foreach ((string name, Func<Task> run) in cases)
{
    if (args.Length > 0 && !name.Contains(args[0], StringComparison.Ordinal))
    {
        continue;
    }

    try
    {
        await run().WaitAsync(TimeSpan.FromSeconds(60));
        Console.WriteLine($"--- ok: {name}");
    }
    catch (SkipException skip)
    {
        Console.WriteLine($"--- left out: {name}: {skip.Message}");
    }
    catch (Exception exception)
    {
        failed++;
        Console.WriteLine($"FAILED: {name}: {exception}");
    }
}

return failed == 0 ? 0 : 1;
